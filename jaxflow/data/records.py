"""What the files of a data set say before any of them is stored: names, defects, checks, hashes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from jaxflow.data.example import NORMAL
from jaxflow.data.image import decode_image, decode_mask
from jaxflow.errors import InputError

Content = Path | Callable[[], bytes]


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
      test: normal and anomalous images; may be empty.
      parameters: JSON-able values that the content of drawn or converted records depends on.
      sources: files that function records read, such as an archive.

    Raises:
      InputError: if train is empty, or if some anomalous images have a mask and others none.
    """

    category: str
    train: Sequence[Record]
    test: Sequence[Record] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    sources: Sequence[Path] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise InputError(f"category {self.category}: no normal images to train on")
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
        return {"train": self.train} | ({"test": self.test} if self.test else {})

    def cache_key(self) -> str:
        """Hash what the prepared data depend on, without reading the images.

        Returns:
          16 hexadecimal digits over each file's path, size and time of change (nanoseconds),
          the records' names and defects, and the parameters.
        """
        digest = hashlib.sha256(_json(dict(self.parameters)))
        for split, records in self.splits.items():
            for record in records:
                digest.update(_json([split, record.name, record.defect, record.mask is not None]))
                for content in record.contents:
                    digest.update(_json(_stat(content)))
        for path in self.sources:
            digest.update(_json(_stat(path)))
        return digest.hexdigest()[:16]


def read_content(content: Content) -> bytes:
    """Read a record's image or mask.

    Args:
      content: a path, or a function that makes the bytes.

    Returns:
      The bytes of an image file.
    """
    return content.read_bytes() if isinstance(content, Path) else content()


def check_records(listing: Listing, *, num_threads: int = 4) -> str:
    """Decode every file once, so that prepared data can be trusted, and hash the contents.

    Records that are made by functions are taken on trust, and are hashed through the
    listing's parameters and sources.

    Args:
      listing: what to check.
      num_threads: threads that decode.

    Returns:
      64 hexadecimal digits: SHA-256 over names, defects and contents.

    Raises:
      InputError: one line with the number of bad files and the first of them, for images that
        cannot be read and masks of another size than their image.
    """
    records = [record for split in listing.splits.values() for record in split]
    digest = hashlib.sha256(_json(dict(listing.parameters)))
    for path in listing.sources:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    errors = []
    with ThreadPoolExecutor(num_threads) as pool:
        for record, (content_hash, error) in zip(
            records, _map_ahead(pool, _check, records), strict=True
        ):
            digest.update(_json([record.name, record.defect]) + content_hash)
            errors += [error] if error else []
    if errors:
        count = f" ({len(errors)} of {len(records)} images are bad, this is the first)"
        raise InputError(errors[0] + (count if len(errors) > 1 else ""))
    return digest.hexdigest()


def _check(record: Record) -> tuple[bytes, str | None]:
    """Give the hash of a record's files and, if one of them is bad, one line about it."""
    if not isinstance(record.image, Path):
        return b"", None
    digest = hashlib.sha256()
    try:
        data = read_content(record.image)
        digest.update(data)
        shape = decode_image(data, name=str(record.image)).shape[:2]
        if record.mask is not None:
            data = read_content(record.mask)
            digest.update(data)
            mask_name = str(record.mask) if isinstance(record.mask, Path) else "the mask"
            found = decode_mask(data, name=mask_name).shape
            if found != shape:
                return digest.digest(), (
                    f"{mask_name} is {found[0]} x {found[1]} pixels (height x width) but its image "
                    f"{record.image} is {shape[0]} x {shape[1]}; a mask has the size of its image"
                )
    except InputError as error:
        return digest.digest(), str(error)
    except OSError as error:
        return digest.digest(), f"{record.image}: cannot be read: {error.strerror}"
    return digest.digest(), None


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
    path = content.absolute()
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
