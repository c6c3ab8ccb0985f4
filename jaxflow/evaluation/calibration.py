"""What a score means, learned only from held-out normal images."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import check_scores
from jaxflow.evaluation.thresholds import expected_false_positive_rate, normal_quantile_threshold

# p-value at which the false alarms of normal test images are counted.
LEVEL = 0.05
# Held-out pixels that are kept: the largest, and as many in between.
_LARGEST, _BETWEEN = 256, 768


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scales that all pictures of a model share; only held-out normal images set them.

    Attributes:
      low: map value shown as no heat.
      high: map value shown as most heat.
      pixel_threshold: a pixel at or above it is predicted anomalous.
      image_threshold: an image whose score is at or above it is predicted anomalous.
    """

    low: float
    high: float
    pixel_threshold: float
    image_threshold: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds and the range of the heat map's colors for one score of one selection.

    Attributes:
      image_threshold: an image whose score reaches it is called anomalous; None: no image is.
      pixel_threshold: the same for a pixel.
      low: the score drawn in the coldest color; None: there is no range.
      high: the score drawn in the hottest color.
      images: number of held-out normal images that it rests on.
      expected_false_positive_rate: of images, by the size of that sample; None without a sample,
        or where the threshold was given.
      image_quantile: that the image threshold was asked for by; None: it was given itself.
      image_scores: of the held-out normal images.
      pixel_scores: of the held-out normal pixels, the largest first; of many, some in between.
      pixel_ranks: the place of each among all, from 1.
      pixels: number of held-out normal pixels.
    """

    image_threshold: float | None = None
    pixel_threshold: float | None = None
    low: float | None = None
    high: float | None = None
    images: int = 0
    expected_false_positive_rate: float | None = None
    image_quantile: float | None = None
    image_scores: Sequence[float] = ()
    pixel_scores: Sequence[float] = ()
    pixel_ranks: Sequence[int] = ()
    pixels: int = 0

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the conformal p-value f64[n] of image scores f[n].

        `p = (1 + number of held-out normal scores that reach it) / (held-out images + 1)`: of
        normal images no more than a share p have a p-value of p or less, whatever their
        distribution, if they come from the same one as those held out.

        Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.
        """
        held_out = np.sort(np.asarray(self.image_scores, np.float32))
        reached = len(held_out) - np.searchsorted(held_out, np.asarray(scores, np.float32), "left")
        return (1 + reached) / (len(held_out) + 1)

    def pixel_p_values(self, maps: np.ndarray) -> np.ndarray:
        """Return the conformal p-value f64[...] of every pixel of anomaly maps f[...].

        As `p_values`, for pixels: neighbours depend on each other, so that the promise is one on
        average over images. Between the pixels that are kept it is the larger p-value that counts.
        """
        known = np.asarray(self.pixel_scores, np.float32)[::-1]
        # For each number of kept pixels that a score does not reach: how many may reach it.
        reached = np.asarray([0, *(rank - 1 for rank in self.pixel_ranks[1:]), self.pixels])[::-1]
        below = np.searchsorted(known, np.asarray(maps, np.float32), "left")
        return (1 + reached[below]) / (self.pixels + 1)

    def false_alarms(
        self, normal: np.ndarray, maps: np.ndarray, scores: np.ndarray
    ) -> dict[str, float]:
        """Return what share of normal test images and of their pixels have a p-value of .05.

        Args:
          normal: bool[n], which of the images count.
          maps: f[n, h, w], which may lie in a file: one is read at a time.
          scores: f[n].
        """
        if not normal.any() or not self.image_scores:
            return {}
        numbers = np.flatnonzero(normal)
        pixels = [(self.pixel_p_values(maps[i]) <= LEVEL).mean() for i in numbers]
        return {
            f"image_fpr_at_p_{LEVEL}": float((self.p_values(scores[normal]) <= LEVEL).mean()),
            f"pixel_fpr_at_p_{LEVEL}": float(np.mean(pixels)),
        }

    @property
    def scale(self) -> Scale | None:
        """Return what the pictures need of it, or None where something lacks."""
        numbers = (self.low, self.high, self.pixel_threshold, self.image_threshold)
        return None if None in numbers else Scale(*numbers)  # type: ignore[arg-type]

    def decided(self, decision: "Decision") -> "Calibration":
        """Return the calibration with the thresholds that a user has chosen.

        Raises:
          InputError: if a quantile is asked for and no scores were held out.
        """
        changed: dict[str, Any] = {}
        if decision.quantile is not None:
            if not self.image_scores:
                raise InputError(
                    "--quantile: no images were held out of training; give --image_threshold"
                )
            changed |= _image_threshold(
                np.asarray(self.image_scores, np.float32), decision.quantile
            )
        if decision.image_threshold is not None:
            threshold = decision.image_threshold
            changed |= {"image_threshold": threshold, "image_quantile": None}
            changed |= {"expected_false_positive_rate": None}
        if decision.pixel_threshold is not None:
            changed["pixel_threshold"] = decision.pixel_threshold
            if self.low is not None and self.low < decision.pixel_threshold:
                changed["high"] = 2 * decision.pixel_threshold - self.low
        return dataclasses.replace(self, **changed)

    def promise(self) -> str | None:
        """Say what false-alarm rate the image threshold can promise, or None without a sample."""
        if self.image_threshold is None or not self.images:
            return None
        images = f"{self.images} held-out normal image{'s' if self.images > 1 else ''}"
        if self.expected_false_positive_rate is None:
            reached = sum(score >= self.image_threshold for score in self.image_scores)
            return (
                f"image threshold {self.image_threshold:.4g}, as given: {reached} of {images} "
                "reach it"
            )
        line = (
            f"image threshold {self.image_threshold:.4g}: from {images} it promises at most "
            f"{100 * self.expected_false_positive_rate:.1f} % false alarms"
        )
        quantile = self.image_quantile
        if quantile is None or self.expected_false_positive_rate <= 1 - quantile + 1e-9:
            return line
        return (
            f"{line}; quantile {quantile:g} asks for {100 * (1 - quantile):.3g} %, which takes "
            f"{math.ceil(quantile / (1 - quantile) - 1e-9)} held-out images"
        )


class Decision(NamedTuple):
    """What a user chooses in place of what a run decides by; None leaves it.

    Attributes:
      score: that decides.
      image_threshold: in units of that score.
      pixel_threshold: in units of that score.
      quantile: of held-out normal image scores, in (0, 1): the image threshold.
    """

    score: str | None = None
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    quantile: float | None = None

    def check(self, scores: Sequence[str]) -> None:
        """Check the choice.

        Args:
          scores: those that the run reports.

        Raises:
          InputError: naming the flag that is wrong.
        """
        if self.score is not None and self.score not in scores:
            raise InputError(
                f"--score {self.score}: this run reports {', '.join(scores)}; train with "
                "--config.evaluation.score for another"
            )
        for name in ("image_threshold", "pixel_threshold"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"--{name} must be a finite number, got {value}")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise InputError(f"--quantile must lie between 0 and 1, got {self.quantile}")
        if self.quantile is not None and self.image_threshold is not None:
            raise InputError(
                "--quantile and --image_threshold both set the image threshold: give one"
            )

    def chosen(self) -> dict[str, Any]:
        """Return what was chosen, by the name of its flag."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Quantiles(NamedTuple):
    """Quantiles of held-out normal scores, in (0, 1): where the thresholds are."""

    image: float = 0.95
    pixel: float = 0.995


def calibrate(maps: np.ndarray, scores: np.ndarray, quantiles: Quantiles) -> Calibration:
    """Compute thresholds and color range from the scores of held-out normal images.

    Args:
      maps: f32[n, h, w], their anomaly maps, n at least 1.
      scores: f32[n], their anomaly scores.
      quantiles: where the thresholds are.
    """
    pixel_threshold = normal_quantile_threshold(maps.reshape(-1), quantiles.pixel)
    low, high = heatmap_scale(maps, pixel_threshold)
    kept = _kept_ranks(maps.size)
    largest_first = np.sort(maps.reshape(-1))[::-1]
    return Calibration(
        pixel_threshold=float(pixel_threshold),
        low=float(low),
        high=float(high),
        images=len(maps),
        image_scores=scores.tolist(),
        pixel_scores=largest_first[kept - 1].tolist(),
        pixel_ranks=kept.tolist(),
        pixels=maps.size,
        **_image_threshold(scores, quantiles.image),
    )


def _kept_ranks(count: int) -> np.ndarray:
    """Return the ranks, from 1, of the pixels that are kept of `count`: the rarer the closer."""
    between = np.geomspace(min(_LARGEST, count), count, _BETWEEN)
    return np.unique(np.concatenate([np.arange(1, min(_LARGEST, count) + 1), between.astype(int)]))


def _image_threshold(scores: np.ndarray, quantile: float) -> dict[str, float]:
    """Return the threshold that a quantile of f32[n] scores gives, and what it promises."""
    return {
        "image_threshold": float(normal_quantile_threshold(scores, quantile)),
        "expected_false_positive_rate": expected_false_positive_rate(len(scores), quantile),
        "image_quantile": quantile,
    }


def heatmap_scale(
    normal_validation_maps: ArrayLike, threshold: float | None = None
) -> tuple[float, float]:
    """Fix the color scale from normal validation maps.

    `low` is the median normal pixel; `high` lies as far above the threshold as the threshold lies
    above `low`, so that the middle of the scale is where a pixel starts to count as anomalous.

    Args:
      normal_validation_maps: floating, any shape: anomaly maps of held-out normal images.
      threshold: the pixel threshold; None: the 0.999 quantile of the maps.

    Returns:
      (low, high), low < high.

    Raises:
      InputError: if there is no map or a value is not finite.
    """
    maps = check_scores(normal_validation_maps, "validation maps")
    low = float(np.median(maps))
    middle = float(np.quantile(maps, 0.999)) if threshold is None else float(threshold)
    if middle <= low:  # Constant maps: any width will do, and the picture stays flat.
        middle = low + max(abs(low), 1.0) * 1e-3
    return low, 2 * middle - low
