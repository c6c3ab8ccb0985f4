"""Walk the folders that a user gives: every image in them, and what is passed over."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxflow.data.image_file import IMAGE_SUFFIXES, printable
from jaxflow.errors import InputError

# What systems and programs leave in a folder: not the user's images.
_LEFT_BY_SYSTEMS = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
}

# Texts about a data set, which come with it.
_DOCUMENTS = ("readme", "license", "licence", "citation", "changelog")

# A file or folder in the file system, whatever its path.
_Identity = tuple[int, int]


@dataclass
class Scan:
    """What a folder holds; each list is sorted.

    Attributes:
      images: visible files with the suffix of an image; links are followed.
      others: visible files with another suffix.
      hidden: images in hidden files and folders, or in folders that systems leave behind.
      broken: (path, what is wrong) of links that are not followed, and of what is no file.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, other: "Scan") -> list[Path]:
        """Take over what another scan passed over; give its images."""
        self.others += other.others
        self.hidden += other.hidden
        self.broken += other.broken
        return other.images

    def below(self, folder: Path) -> "Scan":
        """Give the part of it that lies in a folder, at any depth."""
        top = folder.parts

        def inside(path: Path) -> bool:
            return path.parts[: len(top)] == top

        return Scan(
            images=list(filter(inside, self.images)),
            others=list(filter(inside, self.others)),
            hidden=list(filter(inside, self.hidden)),
            broken=[(path, why) for path, why in self.broken if inside(path)],
        )

    def notes(self) -> list[str]:
        """Say what was passed over, one line for each kind."""
        notes = []
        if self.others:
            suffixes = sorted({path.suffix.lower() or "no suffix" for path in self.others})
            notes.append(
                f"{_count(self.others, 'file')} passed over that {_is(self.others)} no image that "
                f"can be read ({', '.join(suffixes[:8])}), the first is {printable(self.others[0])}"
            )
        if self.hidden:
            notes.append(
                f"{_count(self.hidden, 'image')} passed over in hidden files and folders, the "
                f"first is {printable(self.hidden[0])}"
            )
        for reason in dict.fromkeys(reason for _, reason in self.broken):
            paths = [path for path, other in self.broken if other == reason]
            more = f" ({len(paths)} such paths, this is the first)" if len(paths) > 1 else ""
            notes.append(f"passed over: {printable(paths[0])} is {reason}{more}")
        return notes


def scan(folder: Path, first: Sequence[Path] = ()) -> Scan:
    """Walk a folder.

    Links to files and folders are followed, and each folder is read once. A link to a folder that
    is read already, or to one above, is named in `broken`: it would bring in the images of another
    part. Hidden files and folders do not count.

    Args:
      folder: may be missing.
      first: files and folders directly in it that are read before the others, in this order. What
        several links lead to belongs to the first of them.

    Returns:
      What it holds.

    Raises:
      InputError: if a folder cannot be read.
    """
    found = Scan()
    if not os.path.isdir(folder):
        return found
    entries = _entries(folder)
    above = _lineage(folder)
    seen: set[_Identity] = set()
    parts = [path for path in first if path in entries]
    rest = [path for path in entries if path not in first]
    # The rest may hold what the parts link to: it is read already, below the link.
    for start, is_part in ((parts, True), (rest, False)):
        # Links last: an image that is reached in two ways keeps the path without a link.
        links = _walk(start, found, seen, name_read=is_part)
        while links:
            links.sort(key=lambda link: len(link[0].parts))
            path, identity = links.pop(0)
            if identity in above or identity in _lineage(path.parent):
                found.broken.append((path, "a link to a folder above it"))
            elif identity in seen:
                found.broken.append((path, "a link to a folder that is read already"))
            else:
                seen.add(identity)
                links += _walk(_entries(path), found, seen, name_read=True)
    for kind in (found.images, found.others, found.hidden, found.broken):
        kind.sort()
    return found


def image_files(folder: Path) -> list[Path]:
    """List the image files directly in a folder, sorted; it may be missing."""
    if not os.path.isdir(folder):
        return []
    return [
        path
        for path in _entries(folder)
        if _has_image_suffix(path) and not _hidden(path) and os.path.isfile(path)
    ]


def subfolders(folder: Path) -> list[Path]:
    """List the visible folders directly in a folder, sorted; it may be missing."""
    if not os.path.isdir(folder):
        return []
    return [path for path in _entries(folder) if not _hidden(path) and os.path.isdir(path)]


def child(folder: Path, name: str) -> Path:
    """Find a folder in a folder, by its name in any case; the exact name comes first.

    Args:
      folder: where to look.
      name: of the folder.

    Returns:
      The path as the file system spells it, which need not exist.

    Raises:
      InputError: if several folders differ from the name only by case.
    """
    same = [path for path in subfolders(folder) if path.name.casefold() == name.casefold()]
    if folder / name in same:
        return folder / name
    if len(same) > 1:
        raise InputError(
            f"{printable(folder)}: holds the folders {printable(same[0].name)} and "
            f"{printable(same[1].name)}; "
            f"name one of them {name}"
        )
    return same[0] if same else folder / name


def _walk(
    entries: Sequence[Path], found: Scan, seen: set[_Identity], *, name_read: bool
) -> list[tuple[Path, _Identity]]:
    """Sort what lies in a folder into a scan, at any depth; give the links to folders."""
    links = []
    waiting = list(reversed(entries))
    while waiting:
        path = waiting.pop()
        if _hidden(path):
            found.hidden += _hidden_images(path)
            continue
        status = _status(path)
        if status is None:
            is_link = os.path.islink(path)
            found.broken.append(
                (path, "a link that leads nowhere" if is_link else "gone since it was listed")
            )
        elif stat.S_ISDIR(status.st_mode):
            identity = _identity(status)
            if os.path.islink(path):
                links.append((path, identity))
            elif identity not in seen:
                seen.add(identity)
                waiting += reversed(_entries(path))
            elif name_read:
                found.broken.append((path, "a folder that is read already by a link"))
        elif not stat.S_ISREG(status.st_mode):
            found.broken.append((path, "a device or a pipe, not a file"))
        elif _has_image_suffix(path):
            found.images.append(path)
        elif not path.name.lower().startswith(_DOCUMENTS):
            found.others.append(path)
    return links


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error


def _status(path: Path) -> os.stat_result | None:
    """Ask for the status of a file or folder; None if there is none, or a link leads nowhere."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise _unreadable(path, error) from error


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _lineage(folder: Path) -> set[_Identity]:
    """Identify a folder and all folders above it, without links."""
    place = Path(os.path.realpath(folder))
    return {_identity(os.stat(path)) for path in (place, *place.parents)}


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{printable(path)}: cannot be read: {error.strerror}")


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _LEFT_BY_SYSTEMS


def _has_image_suffix(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _hidden_images(path: Path) -> Iterator[Path]:
    """List the images of a hidden file or folder, except what macOS leaves beside each file."""
    waiting = [path]
    while waiting:
        path = waiting.pop()
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                waiting += path.iterdir()
        elif _has_image_suffix(path) and not path.name.startswith("._"):
            yield path


def _count(paths: list[Path], noun: str) -> str:
    return f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''}"


def _is(paths: list[Path]) -> str:
    return "are" if len(paths) > 1 else "is"
