"""Visual anomaly detection and localization by exact likelihood, in JAX."""

from typing import TYPE_CHECKING, Any

from jaxflow.errors import needs_extra

if TYPE_CHECKING:
    from jaxflow.data import AnomalyDataset
    from jaxflow.detectors import Detector
    from jaxflow.model import Model

__version__ = "0.1.0"

# Our name in the package index, where "jaxflow" belongs to a different project.
DISTRIBUTION = "jaxflow-ad"

# The functions import what they call when they are called: it takes seconds, and needs packages
# that the plain install leaves out.


def load(path: Any, **options: Any) -> "Model":
    """Load a trained model; see `jaxflow.experiments.load.load`.

    Args:
      path: folder of a run that was trained to its end, or of `Model.save`.
      **options: `weights`, `batch_size`.

    Raises:
      MissingPackage: without the packages of the extra `detectors`.
    """
    with needs_extra("detectors"):
        from jaxflow.experiments import load as module

        return module.load(path, **options)


def load_dataset(name: str, **options: Any) -> "AnomalyDataset":
    """Load one category of a data set; see `jaxflow.data.loading.load_dataset`.

    Args:
      name: such as "folder", "mvtec_ad" or "textures".
      **options: such as `data_dir`, `category`, `validation_fraction`.

    Raises:
      MissingPackage: without the packages of the extra `training`.
    """
    with needs_extra("training"):
        from jaxflow.data import loading as module

        return module.load_dataset(name, **options)


def fit(
    detector: "Detector", dataset: "AnomalyDataset", workdir: Any = None, **options: Any
) -> "Model":
    """Fit a detector to normal images; see `jaxflow.experiments.fit.fit`.

    Args:
      detector: of any family.
      dataset: its `train` is learned from, its `validation` chooses the thresholds.
      workdir: keeps the checkpoints; None: none are kept.
      **options: such as `epochs`, `size`, `batch_size`.

    Raises:
      MissingPackage: without the packages of the extra `training`.
    """
    with needs_extra("training"):
        from jaxflow.experiments import fit as module

        return module.fit(detector, dataset, workdir, **options)
