"""Likelihood against detection, a point for each variant."""

from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxflow.errors import InputError
from jaxflow.reports.curves import PALETTE, frame
from jaxflow.reports.pictures import DPI, INK, QUIET, drawable
from jaxflow.reports.variants import Point

_MARKERS = "osD^vPX<>"
_AXES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}


def likelihood_figure(groups: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw image and pixel AUROC over nats per dimension, a row of axes for each group.

    Args:
      groups: which features -> the variants on them, whose likelihoods compare.

    Returns:
      The figure; each variant has its own color and marker, named beside the axes.

    Raises:
      InputError: if there is no group.
    """
    if not groups:
        raise InputError("figure of likelihoods: no variants were given that compare")
    figure = Figure(
        figsize=(9.2, 3.6 * len(groups)), dpi=DPI, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(groups), len(_AXES), squeeze=False)
    for axes_of_row, (features, points) in zip(rows, groups.items(), strict=True):
        for axes, (key, label) in zip(axes_of_row, _AXES.items(), strict=True):
            frame(axes)
            for i, point in enumerate(points):
                value = getattr(point, key)
                axes.plot(
                    [point.nats],
                    [float("nan") if value is None else value],
                    _MARKERS[i // len(PALETTE) % len(_MARKERS)],
                    color=PALETTE[i % len(PALETTE)],
                    label=drawable(point.name),
                )
            axes.set_xlabel("-log p of normal images, nats per dimension", fontsize=8, color=INK)
            axes.set_ylabel(label, fontsize=8, color=INK)
        axes_of_row[0].set_title(
            drawable(features), fontsize=8, color=QUIET, loc="left", parse_math=False
        )
        legend = axes_of_row[-1].legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
