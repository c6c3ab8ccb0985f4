"""The test set that FastFlow's supplement disturbs, to see what a missing alignment costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from jaxflow.data.example import Example, Split

# A defect near the border can be moved out of the frame: then another movement is drawn.
_MAX_DRAWS = 100


@dataclass(frozen=True)
class Movement:
    """How an image is moved about its center; the content is zoomed, turned, then shifted.

    Attributes:
      zoom: above 1 the content grows.
      degrees: counter-clockwise.
      shift: (down, right), fractions of height and width.
    """

    zoom: float = 1.0
    degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Move an image or a mask; what comes into the frame is reflected at the border.

        A point p of the result shows center + R(-degrees) (p - center - shift) / zoom.

        Args:
          pixels: u8[h, w, 3], interpolated bilinearly, or bool[h, w], by the nearest pixel.

        Returns:
          An array of the same shape and dtype.
        """
        height, width = pixels.shape[:2]
        matrix, offset = self._inverse(height, width)
        corners = np.array([(x, y) for x in (0, width) for y in (0, height)], np.float64)
        reached = corners @ matrix.T + offset
        over = np.maximum(-reached, reached - [width, height]).max(axis=0)
        # A pixel more on each side is what the interpolation reads.
        columns, rows = np.maximum(np.ceil(over), 0).astype(int) + 1
        margins = [(rows, rows), (columns, columns)] + [(0, 0)] * (pixels.ndim - 2)
        is_mask = pixels.dtype == np.bool_
        padded = np.pad(pixels, margins, mode="reflect" if min(height, width) > 1 else "edge")
        (a, b), (d, e) = matrix
        c, f = offset + [columns, rows]
        moved = Image.fromarray(padded.astype(np.uint8)).transform(
            (width, height),
            Image.Transform.AFFINE,
            (a, b, c, d, e, f),
            Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR,
        )
        return np.asarray(moved).astype(pixels.dtype)

    def _inverse(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Give f64[2, 2] and f64[2] that take a point (x, y) of the result to its origin."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        # Rows count downward, so counter-clockwise on the screen is clockwise in (x, y).
        matrix = np.array([[cos, -sin], [sin, cos]]) / self.zoom
        center = np.array([width, height]) / 2
        moved = center + np.array([self.shift[1] * width, self.shift[0] * height])
        return matrix, center - matrix @ moved


def disturbed(
    split: Split,
    seed: int = 0,
    copies: int = 4,
    *,
    zoom: float = 0.85,
    degrees: float = 15.0,
    translation: float = 0.15,
) -> Split:
    """Replace each example by copies of it that are zoomed, turned and shifted at random.

    The paper gives only the three ranges. Here every copy has all three: the zoom is drawn
    uniformly in its logarithm from [zoom, 1 / zoom], the angle and both shifts uniformly from
    either side. Masks move with their images. Where nothing of a mask stays in the frame, another
    movement is drawn, up to 100 times, for an image that shows no anomaly is no anomalous one.

    Args:
      split: n examples; decoded when a copy is asked for.
      seed: of the movements; they depend only on it, the example and the number of the copy,
        so a subset is disturbed as the whole is.
      copies: how many of each example.
      zoom: smallest zoom, in (0, 1]; its inverse is the largest.
      degrees: largest angle either way.
      translation: largest shift either way, as a fraction of height and of width.

    Returns:
      A split of n * copies examples, the copies of one following each other; the name of copy 2
      of test/cut/000.png is test/cut/000_disturbed2.png. Labels and defects are the example's.

    Raises:
      ValueError: if copies is below 1 or zoom outside of (0, 1].

    Reference: arXiv 2111.07677, supplement 8.
    """
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies}")
    if not 0 < zoom <= 1:
        raise ValueError(f"zoom must be in (0, 1], got {zoom}")
    names = [_copy_name(name, copy) for name in split.names for copy in range(copies)]
    defects = [defect for defect in split.defects for _ in range(copies)]
    source = _Disturbed(split, copies, seed, (zoom, degrees, translation), names)
    return Split.of(source, names, defects)


def original(split: Split) -> Split:
    """Leave a split as it is.

    Args:
      split: any.

    Returns:
      The same split.
    """
    return split


# Named forms of a test set, for an evaluation to choose from.
TEST_SETS: dict[str, Callable[[Split], Split]] = {"original": original, "disturbed": disturbed}


@dataclass(frozen=True)
class _Disturbed:
    """Copies of the examples of a split, moved at each access."""

    split: Split
    copies: int
    seed: int
    ranges: tuple[float, float, float]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.split) * self.copies

    def __getitem__(self, index: int) -> Example:
        position, copy = divmod(int(index), self.copies)
        example = self.split[position]
        rng = np.random.default_rng([self.seed, int(self.split.indices[position]), copy])
        for _ in range(_MAX_DRAWS):
            movement = _draw(rng, *self.ranges)
            mask = None if example.mask is None else movement.apply(example.mask)
            if mask is None or mask.any() or example.mask is None or not example.mask.any():
                break
        return Example(
            image=movement.apply(example.image),
            mask=mask,
            label=example.label,
            defect=example.defect,
            name=self.names[index],
        )


def _draw(rng: np.random.Generator, zoom: float, degrees: float, translation: float) -> Movement:
    grow, turn, down, right = rng.uniform(-1.0, 1.0, 4)
    return Movement(zoom**grow, turn * degrees, (down * translation, right * translation))


def _copy_name(name: str, copy: int) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}_disturbed{copy}{path.suffix}"))
