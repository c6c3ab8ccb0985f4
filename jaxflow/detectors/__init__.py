"""Anomaly detectors: what learns from normal feature maps and scores others."""

from jaxflow.detectors.conditions import CONDITIONS
from jaxflow.detectors.contract import Detector, Objective, Pass, Scored, Variables
from jaxflow.detectors.flow import FlowDetector, flow_detector
from jaxflow.detectors.gaussian import Gaussian
from jaxflow.detectors.losses import LOSSES, Loss, dimensions, image_nll
from jaxflow.detectors.memory_bank import MemoryBank
from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.registry import DETECTORS, Family
from jaxflow.detectors.scores import (
    SCORES,
    USUAL_SCORES,
    LatentScore,
    anomaly_map,
    anomaly_score,
    averaged,
    cflow,
    log_prob_maxima,
    nll,
    probability,
    upsample,
)
from jaxflow.detectors.spade import Spade

__all__ = [
    "CONDITIONS",
    "DETECTORS",
    "LOSSES",
    "SCORES",
    "USUAL_SCORES",
    "Detector",
    "Family",
    "FlowDetector",
    "FlowPyramid",
    "Gaussian",
    "Latent",
    "LatentScore",
    "Loss",
    "MemoryBank",
    "Objective",
    "Pass",
    "Scored",
    "Spade",
    "Variables",
    "anomaly_map",
    "anomaly_score",
    "averaged",
    "cflow",
    "dimensions",
    "flow_detector",
    "image_nll",
    "log_prob_maxima",
    "nll",
    "probability",
    "upsample",
]
