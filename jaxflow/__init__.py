"""Visual anomaly detection and localization by exact likelihood, in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxflow.data.example import AnomalyDataset
    from jaxflow.detectors import Detector
    from jaxflow.model import Model

__version__ = "0.1.0"

# Our name in the package index, where "jaxflow" belongs to a different project.
DISTRIBUTION = "jaxflow-ad"


def load(path: Any, **options: Any) -> "Model":
    """Load a trained model; see `jaxflow.experiments.load.load`.

    Args:
      path: folder of a run that was trained to its end, or of `Model.save`.
      **options: `weights`, `batch_size`.
    """
    from jaxflow.experiments import load as module  # Imported when asked for: it takes seconds.

    return module.load(path, **options)


def fit(
    detector: "Detector", dataset: "AnomalyDataset", workdir: Any = None, **options: Any
) -> "Model":
    """Fit a detector to normal images; see `jaxflow.experiments.fit.fit`.

    Args:
      detector: of any family.
      dataset: its `train` is learned from, its `validation` chooses the thresholds.
      workdir: keeps the checkpoints; None: none are kept.
      **options: such as `epochs`, `size`, `batch_size`.
    """
    from jaxflow.experiments import fit as module  # Imported when asked for: it takes seconds.

    return module.fit(detector, dataset, workdir, **options)
