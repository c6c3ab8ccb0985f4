"""ROC curves and score histograms."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import RocPoints
from jaxflow.evaluation.ranking import check_labels, check_scores
from jaxflow.reports.pictures import DPI, INK, QUIET, drawable

# Okabe and Ito's palette, without its yellow: told apart with any color vision.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STYLES = ("-", "--", "-.", ":")
NORMAL_COLOR, ANOMALOUS_COLOR = PALETTE[0], PALETTE[1]


def roc_figure(curves: Mapping[str, RocPoints], areas: Mapping[str, float]) -> Figure:
    """Draw ROC curves, each named with its area.

    Args:
      curves: points by name, from `roc_points`.
      areas: the AUROC by the same names.

    Returns:
      The figure.

    Raises:
      InputError: if there is no curve.
    """
    if not curves:
        raise InputError("ROC figure: no curve was given; at least one is needed")
    figure, axes = _framed(3.6, 3.9)
    axes.plot([0, 1], [0, 1], color="#c8ccd0", linewidth=0.8, zorder=1)
    for index, (name, points) in enumerate(curves.items()):
        style = STYLES[index % len(STYLES)]
        color = PALETTE[index % len(PALETTE)]
        label = f"{name}  {areas[name]:.3f}"
        axes.plot(points.fpr, points.tpr, style, color=color, linewidth=1.6, label=label)
    axes.set(xlim=(-0.01, 1.0), ylim=(0.0, 1.01), aspect="equal")
    axes.set_xlabel("false-positive rate", fontsize=8, color=INK)
    axes.set_ylabel("true-positive rate", fontsize=8, color=INK)
    # Below the axes: names are long, and inside they could cover a curve.
    legend = figure.legend(loc="outside lower center", fontsize=7.5, frameon=False, title="AUROC")
    legend.get_title().set_fontsize(7.5)
    return figure


def histogram_figure(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float | None = None,
    name: str = "score",
    of: str = "image",
) -> Figure:
    """Draw the shares of normal and of anomalous images over the score, with the threshold.

    Args:
      labels: bool or 0/1 [b].
      scores: floating [b].
      threshold: drawn as a line; None draws none.
      name: the name of the score, for the axis.
      of: what has the scores: "image" or "pixel".

    Returns:
      The figure. Scores with a tail of more than 30 times their middle range are drawn on a
      logarithmic axis if all are positive.

    Raises:
      InputError: if the shapes differ, nothing is given or a score is not finite.
    """
    truth, values = check_labels(labels, name), check_scores(scores, name)
    if truth.shape != values.shape:
        raise InputError(f"histogram: labels {truth.shape} do not fit scores {values.shape}")
    figure, axes = _framed(4.6, 3.5)
    shown = values if threshold is None else np.append(values, threshold)
    edges = _edges(shown)
    if edges[1] - edges[0] < 0.999 * (edges[-1] - edges[-2]):
        axes.set_xscale("log")
    for kind, chosen, color in (
        ("normal", values[~truth], NORMAL_COLOR),
        ("anomalous", values[truth], ANOMALOUS_COLOR),
    ):
        if chosen.size:
            weights = np.full(chosen.size, 1 / chosen.size)
            shares, _ = np.histogram(chosen, edges, weights=weights)
            label = f"{kind} ({chosen.size})"
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.5, label=label)
            axes.stairs(shares, edges, color=color, linewidth=1)
    if threshold is not None:
        label = f"{of} threshold {threshold:.4g}"
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=label)
    axes.set_xlabel(drawable(name), fontsize=8, color=INK, parse_math=False)
    axes.set_ylabel(f"share of {of}s", fontsize=8, color=INK)
    # Above the axes and the labels on their left: a legend inside could cover a bar.
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.14, 1.0), ncols=3, fontsize=7.5, frameon=False,
        borderaxespad=0.2, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    return figure


def _edges(values: np.ndarray, bins: int = 40) -> np.ndarray:
    """Return the bins' edges: even, or even in the logarithm for a long positive tail."""
    low, high = float(values.min()), float(values.max())
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    if low > 0 and high - low > 30 * (three_quarters - quarter) and high > 10 * low:
        return np.geomspace(low, high * (1 + 1e-6), bins + 1)
    margin = max(high - low, abs(high) * 1e-6, 1e-12) * 0.01
    return np.linspace(low - margin, high + margin, bins + 1)


def _framed(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and axes with two thin spines and a light grid."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    frame(axes)
    return figure, axes


def frame(axes: Axes) -> None:
    """Give axes two thin spines and a light grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b0b6bc")
    axes.tick_params(labelsize=7.5, colors=QUIET, length=3)
    axes.grid(color="#eceff1", linewidth=0.7)
    axes.set_axisbelow(True)
