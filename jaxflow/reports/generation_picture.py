"""The picture of a generated feature map: forward, noise in a region, and back."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxflow.detectors.generation import Generated, Region
from jaxflow.reports.pictures import INK, QUIET, drawable

# Yellow as in the paper; the dark edge keeps it visible on bright maps.
_REGION, _EDGE = "#ffd400", "#1b1f24"
_TILE, _GAP, _MARGIN, _TOP, _BOTTOM = 1.9, 0.52, 0.1, 0.56, 0.36


class GenerationPicture(NamedTuple):
    """What is drawn.

    Attributes:
      image: u8[height, width, 3], the input.
      before: f32[h, w], a channel of the normalized feature map.
      probability: f32[h, w] in [0, 1], of the latent map.
      noised: the same with noise in the region.
      after: f32[h, w], the channel of what the inverse makes of the noised latents.
      region: where the noise was added.
      channel: number of the channel.
      title: what was run.
    """

    image: np.ndarray
    before: np.ndarray
    probability: np.ndarray
    noised: np.ndarray
    after: np.ndarray
    region: Region
    channel: int
    title: str


def picture_of(
    image: np.ndarray, found: Generated, region: Region, channel: int, title: str
) -> GenerationPicture:
    """Return what is drawn of a generated feature map.

    Args:
      image: u8[height, width, 3], the input.
      found: what was generated.
      region: where the noise was added.
      channel: shown.
      title: what was run.
    """
    probable, disturbed = (
        np.exp(-0.5 * np.square(z).mean(-1)) for z in (found.latents, found.noised)
    )
    return GenerationPicture(
        image=image,
        before=found.before[..., channel],
        probability=probable,
        noised=disturbed,
        after=found.after[..., channel],
        region=region,
        channel=channel,
        title=title,
    )


def generation_figure(picture: GenerationPicture) -> Figure:
    """Draw input, feature channel, probability, noised probability and generated channel in a row.

    The two channels share a color scale, as do the two probability maps.

    Reference: arXiv 2111.07677, Figure 4.
    """
    height, width = picture.image.shape[:2]
    tile_h = _TILE * height / width
    total_w = 2 * _MARGIN + 5 * _TILE + 4 * _GAP
    total_h = _TOP + tile_h + _BOTTOM
    figure = Figure(figsize=(total_w, total_h), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    low, high = np.quantile([picture.before, picture.after], [0.005, 0.995])
    features = {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1e-6}
    likely = {"cmap": "inferno", "vmin": 0.0, "vmax": 1.0}
    tiles = [
        ("input", picture.image, {}, False),
        (f"feature, channel {picture.channel}", picture.before, features, False),
        ("probability of the latents", picture.probability, likely, False),
        ("with noise in the region", picture.noised, likely, True),
        (f"generated, channel {picture.channel}", picture.after, features, True),
    ]
    for i, (title, tile, style, framed) in enumerate(tiles):
        left = _MARGIN + i * (_TILE + _GAP)
        axes = figure.add_axes(
            (
                left / total_w,
                (_BOTTOM) / total_h,
                _TILE / total_w,
                tile_h / total_h,
            )
        )
        _show(axes, tile, (height, width), style, title)
        if framed:
            _frame(axes, picture.region, height, width)
        if i < len(tiles) - 1:
            x, y = left + _TILE + _GAP / 2, _BOTTOM + tile_h / 2
            step = ("encoder", "flow", "noise", "inverse")[i]
            figure.text(x / total_w, (y + 0.12) / total_h, step, ha="center", size=6.5, color=QUIET)
            figure.text(x / total_w, (y - 0.1) / total_h, "→", ha="center", size=13, color=INK)
    note = "yellow: where noise was added; a color scale for both channels, one for both maps"
    figure.text(_MARGIN / total_w, 0.14 / total_h, note, size=7, color=QUIET)
    heading = figure.text(
        _MARGIN / total_w, 1 - 0.2 / total_h, drawable(picture.title), size=9, weight="bold"
    )
    heading.set(parse_math=False, color=INK)
    return figure


def _show(axes: Axes, tile: np.ndarray, size: tuple[int, int], style: dict, title: str) -> None:
    """Show a picture over the extent of the input, so that regions fall on the same place."""
    extent = (0.0, size[1], size[0], 0.0)
    axes.imshow(tile, interpolation="nearest", extent=extent, **style)
    axes.set_title(title, fontsize=7.5, color=QUIET, pad=3, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _frame(axes: Axes, region: Region, height: int, width: int) -> None:
    corner = (region.left * width, region.top * height)
    size = (region.width * width, region.height * height)
    for color, line in ((_EDGE, 2.6), (_REGION, 1.4)):
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=line))
