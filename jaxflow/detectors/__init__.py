"""Anomaly detectors: what learns from normal feature maps and scores others."""

from jaxflow.detectors.conditions import CONDITIONS
from jaxflow.detectors.contract import Detector, Likelihood, Objective, Pass, Scored, Variables
from jaxflow.detectors.flow import FlowDetector, flow_detector
from jaxflow.detectors.gaussian import Gaussian
from jaxflow.detectors.grid import upsample
from jaxflow.detectors.kernel_density import KernelDensity
from jaxflow.detectors.losses import LOSSES, Loss, dimensions, image_nll
from jaxflow.detectors.memory_bank import MemoryBank
from jaxflow.detectors.mixture import Mixture
from jaxflow.detectors.one_class_svm import OneClassSvm
from jaxflow.detectors.over_maps import OVER_MAPS, OverMaps, Reference
from jaxflow.detectors.over_positions import OVER_POSITIONS, OverPositions, anomaly_score
from jaxflow.detectors.per_vector import PerVector, VectorDensity
from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.registry import DETECTORS, Family
from jaxflow.detectors.scores import (
    SCORES,
    USUAL_SCORES,
    LatentScore,
    anomaly_map,
    latent_term,
    nll,
    probability,
    score_named,
    volume_term,
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
    "KernelDensity",
    "Latent",
    "LatentScore",
    "Loss",
    "MemoryBank",
    "Mixture",
    "OVER_MAPS",
    "OVER_POSITIONS",
    "Likelihood",
    "Objective",
    "OneClassSvm",
    "OverMaps",
    "OverPositions",
    "Pass",
    "PerVector",
    "Reference",
    "Scored",
    "Spade",
    "Variables",
    "VectorDensity",
    "anomaly_map",
    "anomaly_score",
    "dimensions",
    "flow_detector",
    "image_nll",
    "latent_term",
    "nll",
    "probability",
    "score_named",
    "upsample",
    "volume_term",
]
