"""What a data set is to the rest of the program: splits of lazily decoded examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

NORMAL = "good"

# Those that need normal and anomalous images, and those that need masks.
_IMAGE_METRICS = ("image_auroc", "image_f1_max", "pixel_aupimo")
_PIXEL_METRICS = ("pixel_auroc", "pixel_aupro", "pixel_aupimo", "pixel_f1_max")


@dataclass(frozen=True, eq=False)
class Example:
    """One image at its own size.

    Attributes:
      image: u8[h, w, 3], RGB.
      mask: bool[h, w], True where anomalous; all False for a normal image; None for an anomalous
        image of a data set without masks.
      label: 0 normal, 1 anomalous.
      defect: kind of the anomaly; "good" for normal.
      name: file relative to the data set, such as "test/broken/000.png".
    """

    image: np.ndarray
    mask: np.ndarray | None
    label: int
    defect: str
    name: str


class ExampleSource(Protocol):
    """Random access to examples: a list of them, or something that reads them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True, eq=False)
class Split:
    """Random access to examples that are decoded when asked for.

    Attributes:
      source: the examples of a larger set; indexing it may read and decode a file.
      all_names: list of the names of all examples in `source`.
      all_defects: list of their defects.
      indices: i64[n], which of them belong to this split, in order.
    """

    source: ExampleSource
    all_names: Sequence[str]
    all_defects: Sequence[str]
    indices: np.ndarray

    @classmethod
    def of(cls, source: ExampleSource, names: Sequence[str], defects: Sequence[str]) -> "Split":
        """Make a split of a whole source.

        Args:
          source: n examples, decoded when indexed.
          names: their n names.
          defects: their n defects, "good" for normal.

        Returns:
          The split of all n, in order.

        Raises:
          ValueError: if the three differ in length.
        """
        if not len(source) == len(names) == len(defects):
            raise ValueError(
                f"expected as many names and defects as examples ({len(source)}), "
                f"got {len(names)} and {len(defects)}"
            )
        return cls(source, names, defects, np.arange(len(source)))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Pick examples by their position in this split.

        Args:
          indices: i64[m], in the order wanted.

        Returns:
          A split of m examples; nothing is decoded.
        """
        chosen = self.indices[np.asarray(indices, np.int64)]
        return Split(self.source, self.all_names, self.all_defects, chosen)

    @cached_property
    def names(self) -> list[str]:
        """List the file names; no image is read."""
        return [self.all_names[i] for i in self.indices]

    @cached_property
    def defects(self) -> list[str]:
        """List the kinds of defect, "good" for normal; no image is read."""
        return [self.all_defects[i] for i in self.indices]

    @cached_property
    def labels(self) -> np.ndarray:
        """Give i32[n], 0 normal and 1 anomalous; no image is read."""
        return np.array([defect != NORMAL for defect in self.defects], np.int32)


@dataclass(frozen=True, eq=False)
class AnomalyDataset:
    """Normal images to train on and images to test with.

    Attributes:
      name: name in the registry.
      category: the object or texture shown.
      train: normal images to train on.
      validation: normal images that are not trained on, held out of the training images or the
        set's own; may be empty.
      test: normal and anomalous images, or None where the data set has none.
      has_masks: whether every anomalous test image has a mask (False without any).
      fingerprint: hash of the contents of the images and masks and of their names; it is the same
        wherever the data lie, and says nothing of how validation was split off.
      notes: one line each on what lies in the folder and is not read, or may not be meant.
    """

    name: str
    category: str
    train: Split
    validation: Split
    test: Split | None
    has_masks: bool
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def _test_labels(self) -> list[int]:
        return [] if self.test is None else self.test.labels.tolist()

    @property
    def unavailable_metrics(self) -> tuple[str, ...]:
        """Name the metrics that this data set cannot give, () if it gives all."""
        labels = self._test_labels
        # Masks hold normal pixels too, so anomalous images are enough for most pixel metrics.
        of_images = () if 1 in labels and 0 in labels else _IMAGE_METRICS
        return tuple(dict.fromkeys(of_images + (() if self.has_masks else _PIXEL_METRICS)))

    def explain_unavailable(self) -> str | None:
        """Say in one line which metrics cannot be computed and why.

        Returns:
          The line, or None where every metric can be computed.
        """
        metrics = self.unavailable_metrics
        if not metrics:
            return None
        labels = self._test_labels
        if not labels:
            reason = "it has no test images"
        elif 1 not in labels:
            reason = "none of its test images is anomalous"
        elif 0 not in labels:
            reason = "none of its test images is normal"
        else:
            reason = "it has no masks"
        return f"{self.name} ({self.category}) cannot give {', '.join(metrics)}: {reason}"
