"""Data sets of normal and anomalous images, and how training and evaluation read them.

Here is what a data set is. `jaxflow.data.loading` loads one, `jaxflow.data.pipeline` reads its
images; both need the extra `training`.
"""

from jaxflow.data.example import AnomalyDataset, Example, Split

__all__ = ["AnomalyDataset", "Example", "Split"]
