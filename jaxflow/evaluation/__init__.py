"""Exact metrics, pictures and reports of anomaly scores and anomaly maps."""

from jaxflow.evaluation.aupimo import pixel_aupimo
from jaxflow.evaluation.aupro import pixel_aupro
from jaxflow.evaluation.metrics import (
    auroc,
    average_precision,
    f1_max,
    image_auroc,
    pixel_auroc,
    roc_points,
)
from jaxflow.evaluation.summary import evaluate_scores
from jaxflow.evaluation.thresholds import expected_false_positive_rate, normal_quantile_threshold

__all__ = [
    "auroc",
    "average_precision",
    "evaluate_scores",
    "expected_false_positive_rate",
    "f1_max",
    "image_auroc",
    "normal_quantile_threshold",
    "pixel_aupimo",
    "pixel_aupro",
    "pixel_auroc",
    "roc_points",
]
