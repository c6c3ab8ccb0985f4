"""The tensorflow-datasets builder that every data set shares; none of it needs TensorFlow."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

# tensorflow-datasets reads its own files with it, and lets its error through.
from google.protobuf.json_format import ParseError

from jaxflow.data.example import NORMAL, Example, Split
from jaxflow.data.image import decode_image, decode_mask
from jaxflow.data.records import Listing, Record, check_records, read_content
from jaxflow.errors import InputError
from jaxflow.files import explain, file_sha256, locked

_SUMS = "SHA256SUMS"
_UNFINISHED = "incomplete."


class AnomalyBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Prepare and read one category of a data set.

    A new data set is a subclass with `name`, `list_records` and, if it has fixed categories,
    `BUILDER_CONFIGS`, and a line in `jaxflow.data.loading.DATASETS`. Subclasses are not registered
    with tensorflow-datasets: their names could collide with those of a later release of it.

    Args:
      listing: the images, as `list_records` gives them; by default they are listed from the
        manual download folder when the data are prepared.
      **kwargs: arguments of `tfds.core.GeneratorBasedBuilder` (data_dir, config, version).
    """

    name = "anomaly"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = []
    MANUAL_DOWNLOAD_INSTRUCTIONS: str | None = None

    # Where tensorflow-datasets looks for the checksums of downloads, of which there are none. To
    # find it by itself it imports importlib_resources, which it does not install.
    code_path = None

    # list_records(*, data_dir: str | None, category: str | None, **options) -> Listing
    list_records: ClassVar[Callable[..., Listing]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(skip_registration=True, **kwargs)

    def __init__(self, *, listing: Listing | None = None, **kwargs: Any):
        self._listing = listing
        self.folder = Path(kwargs.get("data_dir") or default_cache_dir())
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            # The bytes of an image file as well, but empty where there is no mask.
            "mask": tfds.features.Tensor(shape=(), dtype=np.object_),
            "label": tfds.features.ClassLabel(names=["normal", "anomalous"]),
            "defect": tfds.features.Text(),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        listing = self._listing
        if listing is None:
            manual = os.fspath(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
            category = self.builder_config.name if self.builder_config else None
            listing = self.list_records(data_dir=manual, category=category)
        checked = check_records(listing)
        self.info.metadata["fingerprint"] = checked.fingerprint
        self.info.metadata["notes"] = checked.notes
        self.info.metadata["index"] = {
            split: [[record.name, record.defect, record.mask is not None] for record in records]
            for split, records in listing.splits.items()
        }
        return {
            split: self._generate_examples(records) for split, records in listing.splits.items()
        }

    def _generate_examples(self, records: Sequence[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, record in enumerate(records):
            yield (
                key,
                {
                    "image": read_content(record.image),
                    "mask": b"" if record.mask is None else read_content(record.mask),
                    "label": int(record.defect != NORMAL),
                    "defect": record.defect,
                    "name": record.name,
                },
            )

    # The two lines that tensorflow-datasets prints around a preparation speak of downloads.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


def category_configs(categories: Sequence[str]) -> list[tfds.core.BuilderConfig]:
    """Make one builder config per category.

    Args:
      categories: their names.

    Returns:
      Configs of these names, in order.
    """
    return [tfds.core.BuilderConfig(name=category) for category in categories]


def default_cache_dir() -> Path:
    """Find where tensorflow-datasets keeps prepared data.

    Returns:
      The folder named by the environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets.
    """
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepare(
    builder_class: type[AnomalyBuilder], listing: Listing, cache_dir: str | None
) -> AnomalyBuilder:
    """Prepare a listing, or find it prepared.

    The folder is named by the listing's cache key, so a change of the files leads to another
    folder and what was prepared before it is not read. Data are prepared in a temporary folder,
    sealed by the SHA-256 of each file and renamed at the end: an interrupted preparation is never
    read, and the next one removes it. Nothing is downloaded, and the progress bars of
    tensorflow-datasets are switched off.

    Args:
      builder_class: the data set.
      listing: its images.
      cache_dir: where to keep prepared data; `default_cache_dir()` by default.

    Returns:
      A builder whose data can be read.

    Raises:
      InputError: if an image or mask is bad, the folder cannot be written, or what was prepared
        in it before is damaged.
    """
    root = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    root = root / "jaxflow"
    folder = root / listing.cache_key(builder_class.name)
    config = listing.category if builder_class.BUILDER_CONFIGS else None
    if not folder.exists():
        try:
            _prepare(builder_class, listing, folder, config)
        # array_record has no errors of its own: a full disk is a RuntimeError.
        except (OSError, RuntimeError) as error:
            reason = explain(error) if isinstance(error, OSError) else " ".join(str(error).split())
            raise InputError(
                f"{root}: prepared data cannot be written: {reason[:300]}; make room, or choose "
                "another cache_dir"
            ) from error
    _check_seal(folder)
    return _open(builder_class, listing, folder, config)


def _prepare(
    builder_class: type[AnomalyBuilder], listing: Listing, folder: Path, config: str | None
) -> None:
    """Prepare a listing beside its folder, and move it there when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    tfds.disable_progress_bar()
    try:
        with locked(temporary, "a preparation"):
            builder_class(listing=listing, data_dir=temporary, config=config).download_and_prepare(
                file_format="array_record",
                download_dir=temporary / "downloads",
                download_config=tfds.download.DownloadConfig(
                    try_download_gcs=False, register_checksums=False
                ),
            )
            _seal(temporary)
        # Another process may have prepared the same data meanwhile; its copy is as good.
        with contextlib.suppress(FileExistsError):
            _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _remove_unfinished(root: Path) -> None:
    """Remove what killed processes left of their preparations; one that goes on holds its lock."""
    for path in root.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(InputError, OSError), locked(path, "a preparation"):
            shutil.rmtree(path, ignore_errors=True)


def _seal(folder: Path) -> None:
    """List the SHA-256 of each file of prepared data."""
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / _SUMS).write_text("".join(lines))


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p.relative_to(folder).as_posix() for p in paths if p.name not in (_SUMS, ".lock"))


def _check_seal(folder: Path) -> None:
    """Raise InputError unless prepared data are as they were written."""
    try:
        lines = (folder / _SUMS).read_text(errors="replace").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name in sorted(sums.keys() | set(_files(folder))):
            if not (folder / name).is_file():
                raise _damaged(folder, f"{name} is missing")
            if sums.get(name) != file_sha256(folder / name):
                raise _damaged(folder, f"{name} does not match its SHA-256")
    except OSError as error:
        raise _damaged(folder, explain(error)) from error
    if not sums:
        raise _damaged(folder, f"{_SUMS} is empty")


def _open(
    builder_class: type[AnomalyBuilder], listing: Listing, folder: Path, config: str | None
) -> AnomalyBuilder:
    """Make a builder of prepared data; only another release can have written them otherwise."""
    try:
        builder = builder_class(listing=listing, data_dir=folder, config=config)
        stored = set(builder.info.metadata) if builder.data_path.exists() else set()
    except (ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(folder, "their description cannot be read") from error
    if not {"fingerprint", "index"} <= stored:
        raise _damaged(folder, "their description is gone")
    return builder


def _damaged(folder: Path, reason: str) -> InputError:
    return InputError(
        f"{folder}: prepared data are damaged ({reason}); delete this folder and start again: they "
        "are prepared again"
    )


def read_split(builder: AnomalyBuilder, split: str) -> Split | None:
    """Open one split of prepared data.

    Args:
      builder: from `prepare`.
      split: "train", "validation" or "test".

    Returns:
      The split, in the order of the listing; None if the data set has no such split. Indexing it
      raises InputError where the prepared data were damaged since.
    """
    index = builder.info.metadata["index"].get(split)
    if index is None:
        return None
    records = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    names, defects, _ = (list(column) for column in zip(*index, strict=True))
    return Split.of(_Decoded(records, names, builder.folder), names, defects)


class _Decoded:
    """Prepared records as examples, decoded at each access."""

    def __init__(self, records: Sequence[dict[str, Any]], names: Sequence[str], folder: Path):
        self._records = records
        self._names = names
        self._folder = folder

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        try:
            record = self._records[index]
        except RuntimeError as error:
            # All that array_record raises for a file that is cut short, changed or gone.
            raise _damaged(self._folder, " ".join(str(error).split())) from error
        name, defect = self._names[index], (record["defect"] or b"").decode()
        if record["name"] != name.encode():
            # A file that is cut at the end of one of its blocks opens, and its records are empty.
            raise _damaged(self._folder, f"there is no {name} where it was stored")
        image = decode_image(record["image"], name=name)
        mask = None
        if record["mask"]:
            mask = decode_mask(record["mask"], name=f"mask of {name}")
        elif defect == NORMAL:
            mask = np.zeros(image.shape[:2], np.bool_)
        return Example(image, mask, int(defect != NORMAL), defect, name)
