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

# The archive holds an image and its mask twice, as "10301 (copy).png" and "10301_GT (copy).png".
_COPY = " (copy)"

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

        The defective images of train are neither trained on nor tested with: a note counts them,
        and the two copies in the archive. Left are 2,085 normal images of train, and 894 normal and
        110 defective ones of test.

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
        copies = [path for path in found.images if path.stem.endswith(_COPY)]
        files = [sorted({*found.below(place).images} - {*copies}) for place in places]
        train, test = (
            sort_by_masks("kolektor_sdd2", files[i], place, _ADVICE)
            for i, place in enumerate(places)
        )
        notes = [*train.notes, *test.notes]
        if train.anomalous:
            notes.append(
                f"{len(train.anomalous)} defective images of train are not used, the first is "
                f"{printable(train.anomalous[0])}: only normal images are trained on, and test is "
                "the set's own"
            )
        if copies:
            notes.append(
                f"{len(copies)} files that are copies by their names are not used, the first is "
                f"{printable(copies[0])}"
            )
        beside = sorted({*found.images} - {*copies, *files[0], *files[1]})
        return Listing(
            category=CATEGORY,
            train=[Record(relative_name(path, root), path) for path in train.normal],
            test=test.anomalous_records(root, DEFECT)
            + [Record(relative_name(path, root), path) for path in test.normal],
            sources=mask_sources(test.masks),
            notes=[*notes, *beside_notes(beside), *found.notes()],
        )
