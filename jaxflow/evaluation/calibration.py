"""What a score means, learned from held-out normal images alone."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxflow.errors import InputError
from jaxflow.evaluation.heatmaps import heatmap_scale
from jaxflow.evaluation.pictures import Scale
from jaxflow.evaluation.thresholds import expected_false_positive_rate, normal_quantile_threshold
from jaxflow.files import read_sealed_json, write_sealed_json


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds and the range of the heat map's colors for one score of one selection.

    Attributes:
      image_threshold: an image whose score reaches it is called anomalous.
      pixel_threshold: the same for a pixel.
      low: the score drawn in the coldest color.
      high: the score drawn in the hottest color.
      images: number of held-out normal images that it rests on.
      expected_false_positive_rate: of images, by the size of that sample.
    """

    image_threshold: float
    pixel_threshold: float
    low: float
    high: float
    images: int
    expected_false_positive_rate: float

    @property
    def scale(self) -> Scale:
        """Return what the pictures need of it."""
        return Scale(self.low, self.high, self.pixel_threshold, self.image_threshold)


def calibrate(
    validation_maps: np.ndarray, image_quantile: float, pixel_quantile: float
) -> Calibration:
    """Compute thresholds and color range from the maps of held-out normal images.

    Args:
      validation_maps: f32[n, h, w], n at least 1.
      image_quantile: in (0, 1), of the images' scores.
      pixel_quantile: in (0, 1), of all pixels' scores.
    """
    pixel_threshold = normal_quantile_threshold(validation_maps.reshape(-1), pixel_quantile)
    low, high = heatmap_scale(validation_maps, pixel_threshold)
    scores = validation_maps.max((1, 2))
    return Calibration(
        image_threshold=float(normal_quantile_threshold(scores, image_quantile)),
        pixel_threshold=float(pixel_threshold),
        low=float(low),
        high=float(high),
        images=len(validation_maps),
        expected_false_positive_rate=expected_false_positive_rate(len(scores), image_quantile),
    )


def write_calibrations(path: Path, calibrations: Mapping[str, Mapping[str, Calibration]]) -> None:
    """Write selection -> score -> calibration as JSON."""
    write_sealed_json(
        path,
        {
            name: {score: dataclasses.asdict(value) for score, value in by_score.items()}
            for name, by_score in calibrations.items()
        },
    )


def read_calibrations(path: Path) -> dict[str, dict[str, Calibration]]:
    """Read what `write_calibrations` wrote.

    Raises:
      InputError: if the file is missing or is not what was written.
    """
    if not path.exists():
        raise InputError(f"{path} is missing; finish the training: the same train command goes on")
    try:
        content = read_sealed_json(path)
        return {
            name: {score: Calibration(**value) for score, value in by_score.items()}
            for name, by_score in content.items()
        }
    except InputError as error:
        raise InputError(
            f"{error}; delete it and start the same train command again: it is computed again"
        ) from error
