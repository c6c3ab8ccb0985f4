"""Anomaly detectors: an encoder, a flow for each of its feature maps, and scores."""

from jaxflow.detectors.detector import Detector
from jaxflow.detectors.normalization import NORMALIZATIONS, channel_statistics, set_statistics
from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.scores import (
    SCORES,
    anomaly_map,
    anomaly_score,
    dimensions,
    image_nll,
    nll,
    probability,
    upsample,
)

__all__ = [
    "NORMALIZATIONS",
    "SCORES",
    "Detector",
    "FlowPyramid",
    "Latent",
    "anomaly_map",
    "anomaly_score",
    "channel_statistics",
    "dimensions",
    "image_nll",
    "nll",
    "probability",
    "set_statistics",
    "upsample",
]
