"""Data sets of normal and anomalous images, and how training and evaluation read them.

What needs the extra `training` is imported when it is first asked for: it takes seconds.
"""

from typing import TYPE_CHECKING, Any

from jaxflow.data.example import AnomalyDataset, Example, Split
from jaxflow.errors import needs_extra

if TYPE_CHECKING:
    from jaxflow.data.loading import load_dataset
    from jaxflow.data.pipeline import read_images, read_masks

__all__ = ["AnomalyDataset", "Example", "Split", "load_dataset", "read_images", "read_masks"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs_extra("training"):
        from jaxflow.data import loading, pipeline

    later = (loading.load_dataset, pipeline.read_images, pipeline.read_masks)
    return {each.__name__: each for each in later}[name]
