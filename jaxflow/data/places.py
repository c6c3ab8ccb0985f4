"""The folder that a user gives for a data set, and the category in it."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxflow.data.image_file import printable
from jaxflow.data.scan import child
from jaxflow.errors import InputError


def require_folder(
    name: str, data_dir: str | None, advice: str, around: Sequence[str] = ()
) -> Path:
    """Check the folder of a data set that is downloaded by hand.

    Args:
      name: of the data set, for the message.
      data_dir: the folder, or None if the user gave none.
      advice: what to do if it is missing.
      around: folders that an archive may put around the set, the outermost first; each that is
        there is entered.

    Returns:
      The folder.

    Raises:
      InputError: if it is None or no folder.
    """
    if data_dir is None:
        raise InputError(f"{name}: needs data_dir, the folder of its images; {advice}")
    root = Path(os.path.expanduser(data_dir))
    if not os.path.isdir(root):
        kind = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise InputError(f"{name}: data_dir {printable(root)} {kind}; {advice}")
    for top in around:
        root = root / top if (root / top).is_dir() else root
    return root


def require_category(name: str, category: str | None, categories: Sequence[str]) -> None:
    """Check that a category is one of those that a data set has.

    Args:
      name: of the data set, for the message.
      category: what the user gave, None if nothing.
      categories: those that exist.

    Raises:
      InputError: if it is not among them; the message lists them.
    """
    if category in categories:
        return
    got = "a category is needed" if category is None else f"no category {category!r}"
    raise InputError(f"{name}: {got}; there are {', '.join(map(printable, categories))}")


def category_folder(
    name: str, root: Path, category: str | None, categories: Sequence[str], advice: str
) -> Path:
    """Find the folder of a category.

    Args:
      name: of the data set, for the message.
      root: holds a folder for each category.
      category: what the user gave, None if nothing.
      categories: those that the data set has.
      advice: what to do if the folder is missing.

    Returns:
      The folder.

    Raises:
      InputError: if there is no such category, or no folder of it.
    """
    require_category(name, category, categories)
    folder = child(root, str(category))
    if not folder.is_dir():
        found = [each for each in categories if child(root, each).is_dir()]
        raise InputError(
            f"{name}: {printable(root)} has no folder {category}; categories found there: "
            f"{', '.join(found) or 'none'}; {advice}"
        )
    return folder
