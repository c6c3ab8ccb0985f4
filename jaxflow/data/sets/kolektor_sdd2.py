"""KolektorSDD2: a production item with scratches, spots and other defects of its surface."""

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import beside_notes, mask_sources, relative_name
from jaxflow.data.marked import sort_by_masks
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import child, scan

CATEGORY = "surface"
DEFECT = "defect"

_TOP = "KolektorSDD2"
_ADVICE = (
    "unpack https://www.vicos.si/resources/kolektorsdd2, whose folders train and test hold "
    "10000.png and its mask 10000_GT.png, and so on"
)


class KolektorSdd2(AnomalyBuilder):
    """The second Kolektor surface-defect data set, with its own split into train and test.

    Reference: Bozic, Tabernik and Skocaj, "Mixed supervision for surface-defect detection: from
    weakly to fully supervised learning", Computers in Industry 129, 2021.
    """

    name = "kolektor_sdd2"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List the set. An image is normal where its mask is empty.

        The defective images of train are neither trained on nor tested with: a note counts them.

        Args:
          data_dir: holds train and test, or the folder KolektorSDD2 that does.
          category: "surface" or None.

        Returns:
          The listing; the defect is "defect", because the set names no other.

        Raises:
          InputError: if the folder has another layout, or if images or masks are missing.
        """
        root = require_folder("kolektor_sdd2", data_dir, _ADVICE, (_TOP,))
        if category is not None:
            require_category("kolektor_sdd2", category, (CATEGORY,))
        places = child(root, "train"), child(root, "test")
        found = scan(root, first=places)
        train, test = (
            sort_by_masks("kolektor_sdd2", found.below(place).images, place, _ADVICE)
            for place in places
        )
        unused = [
            f"{len(train.anomalous)} defective images of train are not used, the first is "
            f"{printable(path)}: only normal images are trained on, and test is the set's own"
            for path in train.anomalous[:1]
        ]
        read = {path for place in places for path in found.below(place).images}
        return Listing(
            category=CATEGORY,
            train=[Record(relative_name(path, root), path) for path in train.normal],
            test=test.anomalous_records(root, DEFECT)
            + [Record(relative_name(path, root), path) for path in test.normal],
            sources=mask_sources(test.masks),
            notes=[
                *unused,
                *train.notes,
                *test.notes,
                *beside_notes([path for path in found.images if path not in read]),
                *found.notes(),
            ],
        )
