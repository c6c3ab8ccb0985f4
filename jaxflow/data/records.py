"""What the files of a data set say before any of them is stored: names, defects, checks, hashes."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path

from jaxflow.data.example import NORMAL
from jaxflow.data.image import ImageFacts, decode_mask, examine_image
from jaxflow.data.image_file import open_image, printable, several_frames
from jaxflow.errors import InputError
from jaxflow.files import file_sha256

Content = Path | Callable[[], bytes]

_FULL_16_BITS = 65535


@dataclass(frozen=True)
class Record:
    """One image of a data set, not yet read.

    Attributes:
      name: file relative to the data set, such as "test/broken/000.png".
      image: path of the image file, or a function that makes the bytes of one.
      defect: kind of the anomaly; "good" for normal.
      mask: path of the mask file, a function that makes the bytes of one, or None.
    """

    name: str
    image: Content
    defect: str = NORMAL
    mask: Content | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """The image and, where there is one, the mask."""
        return (self.image,) if self.mask is None else (self.image, self.mask)


@dataclass(frozen=True)
class Listing:
    """Every image of one category, by split, with what identifies the whole.

    Attributes:
      category: the object or texture shown.
      train: normal images.
      validation: normal images of a validation split that the set itself has; mostly empty: then
        some of train are held out.
      test: normal and anomalous images; may be empty.
      parameters: JSON-able values that the content of drawn or converted records depends on.
      sources: files that function records read, such as an archive.
      notes: one line each on what lies in the folder and is not read, or read in another sense.
      normal_masks: masks of normal images; they are checked to be empty.

    Raises:
      InputError: if train is empty, if two records of a split have one name, or if some anomalous
        images have a mask and others none.
    """

    category: str
    train: Sequence[Record]
    validation: Sequence[Record] = ()
    test: Sequence[Record] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    sources: Sequence[Path] = ()
    notes: Sequence[str] = ()
    normal_masks: Sequence[Path] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise InputError(f"category {self.category}: no normal images to train on")
        for records in self.splits.values():
            name, count = Counter(record.name for record in records).most_common(1)[0]
            if count > 1:
                raise InputError(
                    f"category {self.category}: {count} images have the name {name} when it is "
                    "printed; rename them"
                )
        anomalous = [record for record in self.test if record.defect != NORMAL]
        bare = [record for record in anomalous if record.mask is None]
        if bare and len(bare) < len(anomalous):
            raise InputError(
                f"category {self.category}: {len(bare)} of {len(anomalous)} anomalous images have "
                f"no mask, the first is {bare[0].name}; add their masks, or remove all of them"
            )

    @property
    def splits(self) -> dict[str, Sequence[Record]]:
        """The splits that are not empty."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: records for name, records in splits.items() if records}

    def cache_key(self, name: str) -> str:
        """Hash what the prepared data depend on, without reading the images.

        Args:
          name: of the data set; another that lists the same files has another key.

        Returns:
          16 hexadecimal digits over the name, each file's path, size, times (nanoseconds) and
          number in the file system, the records' names and defects, and the parameters.
        """
        digest = hashlib.sha256(_json([name, dict(self.parameters)]))
        for split, records in self.splits.items():
            for record in records:
                digest.update(_json([split, record.name, record.defect, record.mask is not None]))
                for content in record.contents:
                    digest.update(_json(_stat(content)))
        for path in (*self.sources, *self.normal_masks):
            digest.update(_json(_stat(path)))
        return digest.hexdigest()[:16]


def read_content(content: Content) -> bytes:
    """Read a record's image or mask.

    Args:
      content: a path, or a function that makes the bytes.

    Returns:
      The bytes of an image file.

    Raises:
      InputError: if the file cannot be read.
    """
    if not isinstance(content, Path):
        return content()
    try:
        return content.read_bytes()
    except OSError as error:
        raise _unreadable(content, error) from error


@dataclass(frozen=True)
class Checked:
    """What the files of a listing say once all of them are decoded.

    Attributes:
      fingerprint: 64 hexadecimal digits, SHA-256 over names, defects and contents.
      notes: one line each on what may not be meant.
    """

    fingerprint: str
    notes: list[str]


def check_records(listing: Listing, *, num_threads: int = 4) -> Checked:
    """Decode every file once, so that prepared data can be trusted, and hash the contents.

    Records that are made by functions are taken on trust, and are hashed through the
    listing's parameters and sources.

    Args:
      listing: what to check.
      num_threads: threads that decode.

    Returns:
      The hash, and notes: on files that are listed twice and contradict each other, on masks that
      contradict their images, on frames that are left out, and on 16-bit images that use few of
      their bits.

    Raises:
      InputError: one line with the number of bad files and the first of them, for images that
        cannot be read and masks of another size than their image.
    """
    records = [record for split in listing.splits.values() for record in split]
    digest = hashlib.sha256(_json(dict(listing.parameters)))
    for path in listing.sources:
        try:
            digest.update(bytes.fromhex(file_sha256(path)))
        except OSError as error:
            raise _unreadable(path, error) from error
    with ThreadPoolExecutor(num_threads) as pool:
        files = list(_map_ahead(pool, _check, records))
        marked = [
            path
            for path, any_anomaly in zip(
                listing.normal_masks,
                _map_ahead(pool, _has_anomaly, listing.normal_masks),
                strict=True,
            )
            if any_anomaly
        ]
    for record, file in zip(records, files, strict=True):
        digest.update(_json([record.name, record.defect]) + file.content_hash)
    errors = [file.error for file in files if file.error]
    if errors:
        count = f" ({len(errors)} of {len(records)} images are bad, this is the first)"
        raise InputError(errors[0] + (count if len(errors) > 1 else ""))
    notes = [*_listed_twice(listing), *_notes(records, files, marked)]
    return Checked(digest.hexdigest(), notes)


@dataclass(frozen=True)
class _File:
    """What the files of one record say."""

    content_hash: bytes = b""
    error: str | None = None
    facts: ImageFacts | None = None
    empty_mask: bool = False
    several_frames: Sequence[str] = ()


def _check(record: Record) -> _File:
    if not isinstance(record.image, Path):
        return _File()
    digest = hashlib.sha256()
    image_name, mask_name = printable(record.image), "the mask"
    try:
        data = read_content(record.image)
        digest.update(data)
        facts = examine_image(data, name=image_name)
        frames = [image_name] if facts.several_frames else []
        if record.mask is None:
            return _File(digest.digest(), facts=facts, several_frames=frames)
        data = read_content(record.mask)
        digest.update(data)
        mask_name = printable(record.mask) if isinstance(record.mask, Path) else mask_name
        mask = decode_mask(data, name=mask_name)
        with open_image(data, mask_name) as (opened, _):
            frames += [mask_name] if several_frames(opened) else []
        error = None
        if mask.shape != facts.shape:
            error = (
                f"{mask_name} is {mask.shape[0]} x {mask.shape[1]} pixels (height x width) but its "
                f"image {image_name} is {facts.shape[0]} x {facts.shape[1]}; a mask has the size "
                "of its image"
            )
        return _File(digest.digest(), error, facts, not mask.any(), frames)
    except InputError as error:
        return _File(digest.digest(), str(error))


def _listed_twice(listing: Listing) -> list[str]:
    """Name files that are in two splits, or both normal and anomalous, by a link."""
    files = {split: _names_of_files(records) for split, records in listing.splits.items()}
    notes = []
    for earlier, later in combinations(files, 2):
        if shared := [file for file in files[later] if file in files[earlier]]:
            notes.append(
                f"{len(shared)} images of {later} are also in {earlier}, the first is "
                f"{files[later][shared[0]]}, the same file as {files[earlier][shared[0]]}"
            )
    normal = _names_of_files([record for record in listing.test if record.defect == NORMAL])
    anomalous = _names_of_files([record for record in listing.test if record.defect != NORMAL])
    if shared := [file for file in anomalous if file in normal]:
        notes.append(
            f"{len(shared)} images of test are both anomalous and normal, the first is "
            f"{anomalous[shared[0]]}, the same file as {normal[shared[0]]}"
        )
    return notes


def _names_of_files(records: Sequence[Record]) -> dict[tuple[int, int], str]:
    """Give the name of each file, known by its number in the file system."""
    names = {}
    for record in records:
        if isinstance(record.image, Path):
            status = _status(record.image)
            names[status.st_dev, status.st_ino] = record.name
    return names


def _has_anomaly(path: Path) -> bool:
    return bool(decode_mask(path).any())


def _notes(records: Sequence[Record], files: Sequence[_File], marked: Sequence[Path]) -> list[str]:
    pairs = list(zip(records, files, strict=True))
    empty = [record.name for record, file in pairs if file.empty_mask]
    frames = [name for file in files for name in file.several_frames]
    deep = [(f.facts.peak, r.name) for r, f in pairs if f.facts and f.facts.peak is not None]
    notes = []
    if empty:
        anomalous = sum(record.mask is not None for record in records)
        notes.append(
            f"{len(empty)} of {anomalous} anomalous images have a mask without any anomalous "
            f"pixel, the first is {empty[0]}; they count as anomalous images, and as normal pixels"
        )
    if marked:
        notes.append(
            f"{len(marked)} masks of normal images mark anomalies and are not read, the first is "
            f"{printable(marked[0])}; move such images to test/<defect>"
        )
    if frames:
        notes.append(
            f"of {len(frames)} files with several frames or pages only the first is read, such as "
            f"{frames[0]}"
        )
    peak, name = max(deep, default=(_FULL_16_BITS, ""))
    if 0 < peak < _FULL_16_BITS // 4:
        notes.append(
            f"{len(deep)} images have 16 bits a channel and use {peak.bit_length()} of them (the "
            f"brightest value is {peak}, in {name}): about {peak // 257 + 1} of 256 grey levels "
            f"are left; multiply the pixels by {2 ** (16 - peak.bit_length())} to keep them"
        )
    return notes


def _map_ahead(pool: ThreadPoolExecutor, function: Callable, items: Sequence) -> Iterator:
    """Map in order with a bounded number of results waiting, for sets of any length."""
    remaining = iter(items)
    pending = [pool.submit(function, item) for item in islice(remaining, 64)]
    while pending:
        yield pending.pop(0).result()
        pending += [pool.submit(function, item) for item in islice(remaining, 1)]


def _stat(content: Content) -> list[object]:
    if not isinstance(content, Path):
        return []
    status = _status(content)
    # A program that replaces a file can set its time of change back, not the time of its status.
    times = [status.st_mtime_ns, status.st_ctime_ns]
    return [str(content.absolute()), status.st_size, *times, status.st_ino]


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{printable(path)}: cannot be read: {error.strerror}")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
