"""The picture of what a flow does to feature vectors, in two dimensions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from sklearn.decomposition import PCA

from jaxflow.detectors.clouds import Cloud, Clouds
from jaxflow.errors import InputError
from jaxflow.reports.curves import ANOMALOUS_COLOR, NORMAL_COLOR, PALETTE
from jaxflow.reports.pictures import DPI, INK, QUIET

# Of a standard normal in two dimensions this radius holds 95 %: sqrt(-2 log 0.05).
_RADIUS_95 = (-2 * np.log(0.05)) ** 0.5
_SAMPLED_COLOR = PALETTE[2]
_KINDS = (("normal", NORMAL_COLOR, "o"), ("anomalous", ANOMALOUS_COLOR, "^"))
# Share of the points that every panel shows; the rest lies outside.
_SHOWN = 0.98


def clouds_figure(clouds: Sequence[Clouds]) -> Figure:
    """Draw for each map its features, their latents, and features sampled from the flow.

    Each row has two projections: on the first two principal components of the normal features, in
    standard deviations, and on those of the normal latents, as they are. A flow that fits has 95 %
    of the normal latents in the circle, and its sampled features cover the normal ones, which are
    drawn below them.

    Args:
      clouds: of each map, from `draw_clouds`.

    Raises:
      InputError: if there is no map, or fewer than three normal vectors of one.

    Reference: arXiv 2111.07677, Figure 1.
    """
    if not clouds:
        raise InputError("latents figure: no map was given; at least one is needed")
    figure = Figure(
        figsize=(8.4, 0.7 + 2.75 * len(clouds)), dpi=DPI, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(clouds), 3, squeeze=False)
    for number, (row, each) in enumerate(zip(grid, clouds, strict=True), 1):
        _draw_row(row, each)
        row[0].set_ylabel(f"map {number}", fontsize=8, color=INK)
    for axes, title in zip(grid[0], ("features", "latents", "sampled features"), strict=True):
        axes.set_title(title, fontsize=8.5, color=INK)
    figure.legend(
        handles=_handles(), loc="outside lower center", ncols=4, fontsize=7.5, frameon=False
    )
    return figure


def _handles() -> list[Line2D]:
    """Return what the legend shows: points and the circle."""
    points = [
        Line2D([], [], linestyle="none", marker=shape, markersize=4, color=color, label=label)
        for label, color, shape in (*_KINDS, ("sampled", _SAMPLED_COLOR, "o"))
    ]
    return [*points, Line2D([], [], color=INK, linewidth=1, label="95 % of a standard normal")]


def _draw_row(row: Sequence[Axes], clouds: Clouds) -> None:
    before, after, made = row
    pca = _fit(clouds.features)
    features = pca.transform(clouds.features.vectors)
    # Neither centered nor scaled: latents have a unit of their own.
    latents = clouds.latents.vectors @ _fit(clouds.latents).components_.T
    normal = features[~clouds.features.anomalous]
    _scatter(before, features, clouds.features.anomalous)
    _scatter(after, latents, clouds.latents.anomalous)
    after.add_patch(Circle((0, 0), _RADIUS_95, fill=False, color=INK, linewidth=1))
    _scatter(made, normal, np.zeros(len(normal), bool))
    _points(made, pca.transform(clouds.sampled), _SAMPLED_COLOR, "o")
    for axes, points in ((before, features), (after, latents), (made, features)):
        _frame(axes, points)


def _fit(cloud: Cloud) -> PCA:
    """Fit the first two principal components of the normal vectors."""
    normal = cloud.vectors[~cloud.anomalous]
    if len(normal) < 3:
        raise InputError(f"latents figure: {len(normal)} normal vectors; at least 3 are needed")
    return PCA(2, whiten=True, svd_solver="covariance_eigh").fit(normal)


def _scatter(axes: Axes, points: np.ndarray, anomalous: np.ndarray) -> None:
    """Draw normal points f[n, 2] and, above them, anomalous ones."""
    for kind, (_, color, shape) in enumerate(_KINDS):
        _points(axes, points[anomalous == kind], color, shape)


def _points(axes: Axes, points: np.ndarray, color: str, shape: str) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=4, marker=shape, color=color, alpha=0.4, linewidths=0
    )


def _frame(axes: Axes, points: np.ndarray) -> None:
    """Set equal scales that show most of the points, and thin the frame."""
    reach = max(1.15 * float(np.quantile(np.abs(points), _SHOWN)), 1.1 * _RADIUS_95)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    for side in axes.spines.values():
        side.set_color("#b0b6bc")
    axes.tick_params(labelsize=7, colors=QUIET, length=3)
