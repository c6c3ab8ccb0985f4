"""Walk the folders that a user gives: every image in them, and what is passed over."""

import os
from collections.abc import Iterable, Iterator, Sequence
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


@dataclass
class Scan:
    """What a folder holds.

    Attributes:
      images: visible files with the suffix of an image, sorted; links are followed.
      others: visible files with another suffix.
      hidden: images in hidden files and folders, or in folders that systems leave behind.
      broken: (path, what is wrong) of links that lead nowhere or back, and of what is no file.
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
        if self.broken:
            path, reason = self.broken[0]
            more = f" ({len(self.broken)} such paths, this is the first)"
            notes.append(
                f"passed over: {printable(path)} is {reason}"
                + (more if len(self.broken) > 1 else "")
            )
        return notes


def scan(folder: Path, *, deep: bool = True) -> Scan:
    """Walk a folder.

    Links to files and folders are followed, and each folder is read once: a link to a folder that
    was read already is named in `broken`. Hidden files and folders do not count.

    Args:
      folder: may be missing.
      deep: whether to walk its subfolders too.

    Returns:
      What it holds; images sorted by path.

    Raises:
      InputError: if a folder cannot be read.
    """
    found = Scan()
    links: list[Path] = []
    seen: set[tuple[int, int]] = set()
    if os.path.isdir(folder):
        _walk(folder, deep, found, links, seen)
    # Links last: an image that can be reached both ways has the name of its own folder.
    while links:
        _walk(links.pop(0), deep, found, links, seen)
    found.images.sort()
    return found


def image_files(folder: Path) -> list[Path]:
    """List the image files directly in a folder, sorted; it may be missing."""
    return scan(folder, deep=False).images


def subfolders(folder: Path) -> list[Path]:
    """List the visible folders directly in a folder, sorted; it may be missing."""
    if not os.path.isdir(folder):
        return []
    return [path for path in _entries(folder) if not _hidden(path) and os.path.isdir(path)]


def unread(folder: Path, read: Sequence[Path], passed: Scan) -> list[Path]:
    """List the images in a folder that lie in none of the folders that are read.

    Args:
      folder: the whole.
      read: folders in it that are read, at any depth.
      passed: what else is passed over is added to it.

    Returns:
      Images beside the folders that are read.
    """
    images = passed.add(scan(folder, deep=False))
    for path in subfolders(folder):
        if path in read:
            continue
        if any(path in known.parents for known in read):
            images += unread(path, read, passed)
        else:
            images += passed.add(scan(path))
    return images


def child(folder: Path, name: str) -> Path:
    """Find a folder in a folder, by its name in any case; the exact name comes first.

    Args:
      folder: where to look.
      name: in lower case.

    Returns:
      The path, which need not exist.

    Raises:
      InputError: if several folders differ from the name only by case.
    """
    if os.path.isdir(folder / name):
        return folder / name
    same = [path for path in subfolders(folder) if path.name.casefold() == name]
    if len(same) > 1:
        raise InputError(
            f"{printable(folder)}: holds the folders {same[0].name} and {same[1].name}; "
            f"name one of them {name}"
        )
    return same[0] if same else folder / name


def _walk(
    folder: Path, deep: bool, found: Scan, links: list[Path], seen: set[tuple[int, int]]
) -> None:
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        found.broken.append((folder, "a link to a folder that is read already"))
        return
    seen.add((status.st_dev, status.st_ino))
    for path in _entries(folder):
        if _hidden(path):
            found.hidden += _hidden_images(path)
        elif os.path.isdir(path):
            if deep and path.is_symlink():
                links.append(path)
            elif deep:
                _walk(path, deep, found, links, seen)
        elif not os.path.exists(path):
            found.broken.append((path, "a link that leads nowhere"))
        elif not os.path.isfile(path):
            found.broken.append((path, "a device or a pipe, not a file"))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.images.append(path)
        elif not path.name.lower().startswith(_DOCUMENTS):
            found.others.append(path)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be read: {error.strerror}") from error


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _LEFT_BY_SYSTEMS


def _hidden_images(path: Path) -> Iterator[Path]:
    """List the images of a hidden file or folder, except what macOS leaves beside each file."""
    folders: Iterable = os.walk(path) if os.path.isdir(path) else [(path.parent, [], [path.name])]
    for folder, _, names in folders:
        for name in sorted(names):
            if not name.startswith("._") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(folder, name)


def _count(paths: list[Path], noun: str) -> str:
    return f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''}"


def _is(paths: list[Path]) -> str:
    return "are" if len(paths) > 1 else "is"
