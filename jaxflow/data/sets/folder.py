"""A user's own images: the layout of MVTec AD, or only normal images."""

from pathlib import Path

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import list_layout, mask_like, relative_name
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import child, image_files, scan, subfolders
from jaxflow.errors import InputError

_ADVICE = "give a folder of normal images, or one that holds train/good"


class Folder(AnomalyBuilder):
    """Any folder in the layout of MVTec AD, or of only normal images (then there is no test)."""

    name = "folder"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"manual_dir is the folder of images: {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List a folder.

        Args:
          data_dir: holds train, or normal images, or one folder per category that does.
          category: name of a folder in data_dir; None if data_dir is itself the category.

        Returns:
          The listing; the category of data_dir itself is its name.

        Raises:
          InputError: if the folder or the category does not exist or holds no normal images.
        """
        root = require_folder("folder", data_dir, _ADVICE)
        categories = [path.name for path in subfolders(root) if _has_train(path)]
        is_category = _has_train(root) or bool(image_files(root))
        if category is not None or (categories and not is_category):
            if not categories and category is not None:
                categories = [path.name for path in subfolders(root) if image_files(path)]
            if not categories:
                raise InputError(
                    f"folder: no category {category!r} in {printable(root)}, nor any other; "
                    f"{_ADVICE}"
                )
            require_category(f"folder {printable(root)}", category, categories)
            root = root / str(category)
        name = printable(root.resolve().name)
        return list_layout(root, name) if _has_train(root) else _list_normal(root, name)


def _has_train(folder: Path) -> bool:
    return child(folder, "train").is_dir()


def _list_normal(root: Path, category: str) -> Listing:
    """List a folder of only normal images; what its subfolders hold may not be normal."""
    found = scan(root)
    normal = [path for path in found.images if path.parent == root]
    below = [path for path in found.images if path.parent != root]
    if not normal:
        inside = f"; its folder {printable(below[0].parent.name)} holds images" if below else ""
        passed = "".join(f"; {note}" for note in found.notes())
        raise InputError(
            f"folder: no normal images in {printable(root)}{inside}{passed}; {_ADVICE}"
        )
    notes = found.notes() + mask_like(normal)
    if below:
        notes.append(
            f"{len(below)} images in subfolders of {printable(root)} are not read, the first is "
            f"{relative_name(below[0], root)}; put all normal images into train/good, whose "
            "subfolders are read"
        )
    return Listing(
        category=category,
        train=[Record(relative_name(path, root), path) for path in normal],
        notes=notes,
    )
