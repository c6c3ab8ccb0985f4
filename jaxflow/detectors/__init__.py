"""Anomaly detectors: an encoder, a flow for each of its feature maps, and scores."""

from jaxflow.detectors.conditions import CONDITIONS
from jaxflow.detectors.detector import Detector
from jaxflow.detectors.normalization import NORMALIZATIONS, channel_statistics, set_statistics
from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.scores import (
    MAXIMA,
    MEANINGS,
    SCORES,
    SCORES_WITH_MAXIMA,
    USUAL_SCORES,
    anomaly_map,
    anomaly_score,
    cflow,
    dimensions,
    image_nll,
    log_prob_maxima,
    nll,
    probability,
    upsample,
)

__all__ = [
    "CONDITIONS",
    "MAXIMA",
    "MEANINGS",
    "NORMALIZATIONS",
    "SCORES",
    "SCORES_WITH_MAXIMA",
    "USUAL_SCORES",
    "Detector",
    "FlowPyramid",
    "Latent",
    "anomaly_map",
    "anomaly_score",
    "cflow",
    "channel_statistics",
    "dimensions",
    "image_nll",
    "log_prob_maxima",
    "nll",
    "probability",
    "set_statistics",
    "upsample",
]
