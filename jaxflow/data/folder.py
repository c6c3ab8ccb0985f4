"""A user's own images: the layout of MVTec AD, or normal images alone."""

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.mvtec import (
    image_files,
    list_layout,
    require_category,
    require_folder,
    subfolders,
)
from jaxflow.data.records import Listing, Record
from jaxflow.errors import InputError

_ADVICE = "give a folder of normal images, or one that holds train/good"


class Folder(AnomalyBuilder):
    """Any folder in the layout of MVTec AD, or of normal images alone (then there is no test)."""

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
        categories = [path.name for path in subfolders(root) if (path / "train").is_dir()]
        is_category = (root / "train").is_dir() or bool(image_files(root))
        if category is not None or (categories and not is_category):
            if not categories and category is not None:
                categories = [path.name for path in subfolders(root) if image_files(path)]
            if not categories:
                raise InputError(
                    f"folder: no category {category!r} in {root}, nor any other; {_ADVICE}"
                )
            require_category(f"folder {root}", category, categories)
            root = root / str(category)
        if (root / "train").is_dir():
            return list_layout(root, root.resolve().name)
        normal = image_files(root)
        if not normal:
            raise InputError(f"folder: no normal images in {root}; {_ADVICE}")
        return Listing(
            category=root.resolve().name, train=[Record(path.name, path) for path in normal]
        )
