"""Pictures of single images: a panel for each, and a grid of several for a first look."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Scale
from jaxflow.files import write_atomically
from jaxflow.reports.heatmaps import (
    PREDICTED_COLOR,
    TRUTH_COLOR,
    heat_colors,
    heatmap_overlay,
    mask_overlay,
)

DPI = 130
INK, QUIET = "#1b1f24", "#6a737d"
# Orange, blue and purple: told apart with any color vision, and never the only sign.
COLORS = {
    "anomalous": "#c04a00",
    "normal": "#00609c",
    "correct": QUIET,
    "missed": "#8e1f6f",
    "false alarm": "#8e1f6f",
}


@dataclass(frozen=True)
class ScoredImage:
    """One scored image.

    Attributes:
      name: what to call it, such as its file name.
      image: uint8 [h, w, 3].
      anomaly_map: floating [h, w].
      anomaly_score: the score of the image.
      mask: bool [h, w]; None if there is none.
      label: 0 normal, 1 anomalous; None if it is not known.
      defect: the kind of defect, or the empty string.
    """

    name: str
    image: NDArray[np.uint8]
    anomaly_map: NDArray[np.floating]
    anomaly_score: float
    mask: NDArray[np.bool_] | None = None
    label: int | None = None
    defect: str = ""

    def decision(self, scale: Scale) -> str:
        """Return "anomalous" if the score reaches the image threshold, else "normal"."""
        return "anomalous" if self.anomaly_score >= scale.image_threshold else "normal"

    def verdict(self, scale: Scale) -> str:
        """Return "correct", "missed", "false alarm", or the empty string without a label."""
        if self.label is None:
            return ""
        found = self.anomaly_score >= scale.image_threshold
        if found == bool(self.label):
            return "correct"
        return "false alarm" if found else "missed"


def panel(example: ScoredImage, scale: Scale) -> Figure:
    """Draw input, ground truth (if known), heat map and predicted mask side by side.

    Args:
      example: the scored image.
      scale: the color scale and the thresholds.

    Returns:
      A figure that is captioned with name, score, threshold, decision and verdict.

    Raises:
      InputError: if the shapes of image, map and mask do not fit.
    """
    tiles = _tiles(example, scale)
    height, width = example.image.shape[:2]
    tile_h = 2.1 * min(1.0, 1.6 * height / width)
    tile_w = tile_h * width / height
    gap, top, bottom, bar = 0.07, 0.62, 0.08, 0.72
    total_w = max(0.08 + len(tiles) * (tile_w + gap) + bar, 5.2)
    figure = _figure(total_w, top + tile_h + bottom)
    for index, (title, tile) in enumerate(tiles):
        box = (0.08 + index * (tile_w + gap), top, tile_w, tile_h)
        axes = _image_axes(figure, box, tile)
        axes.set_title(title, fontsize=7.5, color=QUIET, pad=3, loc="left")
    _color_bar(figure, (0.08 + len(tiles) * (tile_w + gap) + 0.03, top, 0.09, tile_h), scale)
    _caption(figure, example, scale)
    return figure


def grid(examples: Sequence[ScoredImage], scale: Scale) -> Figure:
    """Draw several images as columns: input, ground truth and heat map below each other.

    Args:
      examples: at least one; all are drawn to the shape of the first.
      scale: the color scale and the thresholds.

    Returns:
      The figure; the ground-truth row is left out if no example has a mask.

    Raises:
      InputError: if there is no example, or shapes do not fit.
    """
    if not examples:
        raise InputError("picture grid: no example was given; at least one is needed")
    rows = ["input", "ground truth", "heat map"]
    if all(example.mask is None for example in examples):
        rows.remove("ground truth")
    height, width = examples[0].image.shape[:2]
    tile_w, gap, left, top, bottom, bar = 1.25, 0.05, 0.26, 0.27, 0.42, 0.74
    tile_h = tile_w * height / width
    total = (left + len(examples) * (tile_w + gap) + bar, top + len(rows) * (tile_h + gap) + bottom)
    figure = _figure(*total)
    for column, example in enumerate(examples):
        tiles = dict(_tiles(example, scale))
        x = left + column * (tile_w + gap)
        for row, name in enumerate(rows):
            box = (x, top + row * (tile_h + gap), tile_w, tile_h)
            axes = _image_axes(figure, box, tiles.get(name, np.full_like(example.image, 245)))
            if column == 0:
                axes.set_ylabel(name, fontsize=8, color=QUIET, labelpad=4)
        center = x + tile_w / 2
        _text(figure, center, 0.14, _shorten(example.defect or example.name, 20), ha="center")
        _decision(figure, center, total[1] - bottom + 0.13, example, scale)
    bar_top = top + (len(rows) - 1) * (tile_h + gap)
    bar_left = left + len(examples) * (tile_w + gap) + 0.03
    _color_bar(figure, (bar_left, bar_top, 0.09, tile_h), scale)
    return figure


def save_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as png and return its path; missing folders are made."""
    target, content = Path(path), io.BytesIO()
    # No version or date inside: the same figure gives the same bytes.
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": "jaxflow"})
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(target, content.getvalue())


def _tiles(example: ScoredImage, scale: Scale) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the named pictures of one example, from left to right."""
    found = np.asarray(example.anomaly_map) >= scale.pixel_threshold
    heat = heatmap_overlay(example.image, example.anomaly_map, scale.low, scale.high)
    tiles = [("input", np.asarray(example.image)), ("heat map", heat)]
    tiles.append(("predicted mask", mask_overlay(example.image, found, PREDICTED_COLOR)))
    if example.mask is not None:
        truth = mask_overlay(example.image, example.mask, TRUTH_COLOR)
        tiles.insert(1, ("ground truth", truth))
    return tiles


def _caption(figure: Figure, example: ScoredImage, scale: Scale) -> None:
    """Write name and kind on the first line; score, decision and verdict on the second."""
    width = figure.get_figwidth()
    name = _shorten(example.name, int(11 * width))
    _text(figure, 0.08, 0.14, name, ha="left", weight="bold", size=9)
    if example.defect:
        _text(figure, width - 0.08, 0.14, example.defect, ha="right", color=QUIET)
    relation = "≥" if example.anomaly_score >= scale.image_threshold else "<"
    decision = example.decision(scale)
    line = f"{decision}: score {example.anomaly_score:.4g} {relation} image threshold "
    _text(
        figure, 0.08, 0.33, f"{line}{scale.image_threshold:.4g}", ha="left", color=COLORS[decision]
    )
    verdict = example.verdict(scale)
    if verdict:
        _text(figure, width - 0.08, 0.33, verdict, ha="right", color=COLORS[verdict])


def _decision(figure: Figure, x: float, y: float, example: ScoredImage, scale: Scale) -> None:
    """Write score and decision under a column of the grid."""
    decision, verdict = example.decision(scale), example.verdict(scale)
    _text(
        figure, x, y, f"{decision} {example.anomaly_score:.3g}", ha="center", color=COLORS[decision]
    )
    if verdict:
        weight = "normal" if verdict == "correct" else "bold"
        _text(figure, x, y + 0.15, verdict, ha="center", color=COLORS[verdict], weight=weight)


def _color_bar(figure: Figure, box: tuple[float, float, float, float], scale: Scale) -> None:
    """Draw the scale of the heat map with its ends and the pixel threshold marked."""
    axes = _axes(figure, box)
    bar = figure.colorbar(ScalarMappable(Normalize(scale.low, scale.high), heat_colors()), cax=axes)
    bar.outline.set_visible(False)
    ticks = [(scale.low, f"{scale.low:.3g}"), (scale.high, f"{scale.high:.3g}")]
    threshold, span = scale.pixel_threshold, scale.high - scale.low
    if scale.low + 0.1 * span < threshold < scale.high - 0.1 * span:
        ticks.insert(1, (threshold, f"{threshold:.3g}\npixel\nthreshold"))
        axes.axhline(threshold, color="white", linewidth=1.2)
    bar.set_ticks([value for value, _ in ticks], labels=[text for _, text in ticks])
    axes.tick_params(labelsize=6.5, length=0, pad=3, colors=QUIET)
    # The ends' labels stay inside the height of the bar.
    axes.get_yticklabels()[0].set_verticalalignment("bottom")
    axes.get_yticklabels()[-1].set_verticalalignment("top")


def _figure(width: float, height: float) -> Figure:
    """Return an empty white figure, sizes in inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Add axes at (left, top, width, height) in inches from the upper left corner."""
    left, top, width, height = box
    total_w, total_h = figure.get_size_inches()
    bottom = total_h - top - height
    return figure.add_axes((left / total_w, bottom / total_h, width / total_w, height / total_h))


def _image_axes(
    figure: Figure, box: tuple[float, float, float, float], tile: NDArray[np.uint8]
) -> Axes:
    """Show a picture without ticks or frame."""
    axes = _axes(figure, box)
    axes.imshow(tile, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    ha: str,
    color: str = INK,
    weight: str = "normal",
    size: float = 8,
) -> None:
    """Write text at (x, y) inches from the upper left corner; "$" in a file name stays a "$"."""
    width, height = figure.get_size_inches()
    written = figure.text(
        x / width, 1 - y / height, drawable(text), ha=ha, va="center", color=color
    )
    written.set(weight=weight, size=size, parse_math=False)


def drawable(text: str) -> str:
    """Return the text with "?" for each character that the font of the pictures lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text)


def _shorten(text: str, limit: int) -> str:
    """Return the text with its start cut off where it is longer than limit."""
    return text if len(text) <= limit else "…" + text[1 - limit :]
