"""The registry of data sets, and the one way to load any of them."""

import inspect
import warnings

import numpy as np

from jaxflow.data.builder import AnomalyBuilder, prepare, read_split
from jaxflow.data.example import NORMAL, AnomalyDataset, Split
from jaxflow.data.sets.btad import Btad
from jaxflow.data.sets.cifar10 import Cifar10
from jaxflow.data.sets.folder import Folder
from jaxflow.data.sets.kolektor_sdd import KolektorSdd
from jaxflow.data.sets.kolektor_sdd2 import KolektorSdd2
from jaxflow.data.sets.magnetic_tile import MagneticTile
from jaxflow.data.sets.mpdd import Mpdd
from jaxflow.data.sets.mvtec import MvtecAd
from jaxflow.data.sets.mvtec_loco import MvtecLoco
from jaxflow.data.sets.shanghaitech import ShanghaiTech
from jaxflow.data.sets.textures import Textures
from jaxflow.data.sets.visa import Visa
from jaxflow.errors import DataWarning, InputError, suggest

DATASETS: dict[str, type[AnomalyBuilder]] = {
    "btad": Btad,
    "cifar10": Cifar10,
    "folder": Folder,
    "kolektor_sdd": KolektorSdd,
    "kolektor_sdd2": KolektorSdd2,
    "magnetic_tile": MagneticTile,
    "mpdd": Mpdd,
    "mvtec_ad": MvtecAd,
    "mvtec_loco": MvtecLoco,
    "shanghaitech": ShanghaiTech,
    "textures": Textures,
    "visa": Visa,
}


def load_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    category: str | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    cache_dir: str | None = None,
    **options: object,
) -> AnomalyDataset:
    """Load one category of a data set, preparing it if needed; nothing is downloaded.

    Args:
      name: one of `DATASETS`.
      data_dir: folder of the images as downloaded; unused by `textures`.
      category: one of those that the data set has; sets with only one need none.
      validation_fraction: part of the normal training images to hold out, in [0, 1); at least one
        image unless 0. Not used where the set has its own validation images.
      seed: of the choice of held-out images.
      cache_dir: where to keep prepared data; TFDS_DATA_DIR, else ~/tensorflow_datasets, by default.
      **options: what the data set's `list_records` takes besides, such as the sizes of `textures`
        or the setting of `cifar10`.

    Returns:
      The data set; train and validation are disjoint and keep the order of the files' names.

    Warns:
      DataWarning: for each of its notes.

    Raises:
      InputError: if an argument is wrong, or files are missing or bad.
    """
    if name not in DATASETS:
        raise InputError(f"no data set {name!r}; there are {', '.join(sorted(DATASETS))}")
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation_fraction must be in [0, 1), got {validation_fraction}")
    builder_class = DATASETS[name]
    _check_options(name, builder_class, options)
    listing = builder_class.list_records(data_dir=data_dir, category=category, **options)
    builder = prepare(builder_class, listing, cache_dir)
    train, validation = read_split(builder, "train"), read_split(builder, "validation")
    assert train is not None  # Listing refuses an empty train.
    if validation is None:
        train, validation = hold_out(train, validation_fraction, seed)
    notes = (*listing.notes, *builder.info.metadata.get("notes", ()))
    for note in notes:
        warnings.warn(f"{name} ({listing.category}): {note}", DataWarning, stacklevel=2)
    return AnomalyDataset(
        name=name,
        category=listing.category,
        train=train,
        validation=validation,
        test=read_split(builder, "test"),
        has_masks=any(r.defect != NORMAL and r.mask is not None for r in listing.test),
        fingerprint=builder.info.metadata["fingerprint"],
        notes=notes,
    )


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Divide a split at random.

    Args:
      split: n examples.
      fraction: part of the second, in [0, 1); at least one example unless 0.
      seed: of the choice.

    Returns:
      The rest and the part held out, disjoint, both in the order of `split`.

    Raises:
      InputError: if nothing would be left of the first.
    """
    held = max(1, round(len(split) * fraction)) if fraction > 0 else 0
    if held >= len(split):
        raise InputError(
            f"holding out {held} of {len(split)} normal images for validation leaves none to train "
            "on; add images or set validation_fraction to 0"
        )
    order = np.random.default_rng(seed).permutation(len(split))
    return split.subset(np.sort(order[held:])), split.subset(np.sort(order[:held]))


def _check_options(name: str, builder_class: type[AnomalyBuilder], options: dict) -> None:
    known = set(inspect.signature(builder_class.list_records).parameters) - {"data_dir", "category"}
    for option in sorted(set(options) - known):
        raise InputError(f"{name}: no option {option!r}; {suggest(option, known)}")
