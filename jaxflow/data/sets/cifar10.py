"""CIFAR-10 as anomaly detection: one class against the nine others."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.example import NORMAL
from jaxflow.data.image import encode_png
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.errors import InputError

CATEGORIES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SETTINGS = ("one_normal", "one_anomalous")

_SIDE = 32
_ROW = 1 + 3 * _SIDE * _SIDE
_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_TOP = "cifar-10-batches-bin"
_ADVICE = (
    f"unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, whose folder {_TOP} holds "
    "data_batch_1.bin to data_batch_5.bin and test_batch.bin"
)


class Cifar10(AnomalyBuilder):
    """CIFAR-10, one config per class; there are no masks.

    The binary version is read. The python version is a pickle, and opening a pickle can
    run whatever its writer wished.

    Reference: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "cifar10"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(
        *, data_dir: str | None, category: str | None, setting: str = "one_normal"
    ) -> Listing:
        """List the images, one class against the others.

        All test images are kept, so nine tenths of them are anomalous in `one_normal`, one tenth
        in `one_anomalous`.

        Args:
          data_dir: the folder cifar-10-batches-bin or the one that holds it.
          category: one of `CATEGORIES`.
          setting: "one_normal", the category is normal and the others are anomalies; or
            "one_anomalous", the category is the anomaly and the others are normal (what the
            FastFlow paper says above its Table 4; its section 4.1 says the former).

        Returns:
          The listing; the defect of an anomalous image is its class.

        Raises:
          InputError: if the category or the setting does not exist, or if files are missing, cut
            short or of the python version.
        """
        root = require_folder("cifar10", data_dir, _ADVICE, (_TOP,))
        require_category("cifar10", category, CATEGORIES)
        if setting not in SETTINGS:
            raise InputError(f"cifar10: no setting {setting!r}; there are {', '.join(SETTINGS)}")
        _require_binary(root)
        normal = {c for c in CATEGORIES if (c == category) == (setting == "one_normal")}
        records = {split: list(_records(root, split, normal)) for split in _FILES}
        return Listing(
            category=str(category),
            train=[record for record in records["train"] if record.defect == NORMAL],
            test=records["test"],
            parameters={"setting": setting, "category": category},
            sources=[root / name for names in _FILES.values() for name in names],
        )


def _require_binary(root: Path) -> None:
    """Check that every file is there, and say so if it is the other version that is."""
    missing = [name for names in _FILES.values() for name in names if not (root / name).is_file()]
    if not missing:
        return
    python = [
        root / name
        for name in ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1")
        if (root / name).exists()
    ]
    if python:
        raise InputError(
            f"cifar10: {python[0]} is the python version, a pickle, which is never opened here; "
            f"{_ADVICE}"
        )
    raise InputError(f"cifar10: no file {missing[0]} in {root}; {_ADVICE}")


def _records(root: Path, split: str, normal: set[str]) -> Iterator[Record]:
    index = 0
    for name in _FILES[split]:
        rows = _read_rows(root / name)
        for row in rows:
            kind = CATEGORIES[row[0]]
            yield Record(
                name=f"{split}/{kind}/{index:05d}.png",
                image=functools.partial(_png, row),
                defect=NORMAL if kind in normal else kind,
            )
            index += 1


def _read_rows(path: Path) -> np.ndarray:
    """Map a file: u8[n, 3073], of each image its class and the three planes of its pixels."""
    size = path.stat().st_size
    if size == 0 or size % _ROW:
        raise InputError(
            f"cifar10: {path} has {size} bytes, not a multiple of {_ROW} (one image): it is cut "
            f"short or another file; {_ADVICE}"
        )
    # Plain views of the map: each row of a memmap would carry a dict of its own.
    rows = np.asarray(np.memmap(path, np.uint8, mode="r")).reshape(-1, _ROW)
    if rows[:, 0].max() >= len(CATEGORIES):
        raise InputError(
            f"cifar10: {path} has an image of class {rows[:, 0].max()}, expected 0 to 9: it is "
            f"damaged or another file; {_ADVICE}"
        )
    return rows


def _png(row: np.ndarray) -> bytes:
    planes = row[1:].reshape(3, _SIDE, _SIDE)
    return encode_png(np.ascontiguousarray(planes.transpose(1, 2, 0)))
