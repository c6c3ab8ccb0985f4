"""KolektorSDD: electrical commutators, some with a crack."""

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import beside_notes, list_layout, mask_sources, relative_name
from jaxflow.data.marked import sort_by_masks
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import child, scan, subfolders
from jaxflow.errors import InputError

CATEGORY = "commutator"
DEFECT = "crack"

_TOP = "KolektorSDD"
_ADVICE = (
    "unpack https://www.vicos.si/resources/kolektorsdd, whose folders kos01 to kos50 hold "
    "Part0.jpg and its mask Part0_label.bmp, and so on"
)


class KolektorSdd(AnomalyBuilder):
    """The Kolektor surface-defect data set, fully annotated; also in MVTec AD's layout.

    Reference: Tabernik, Sela, Skvarc and Skocaj, "Segmentation-based deep-learning approach for
    surface-defect detection", Journal of Intelligent Manufacturing 31, 2020.
    """

    name = "kolektor_sdd"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List the set. It has no official split of normal images, so this is a rule of ours.

        Items are kept whole: the normal images of the first two thirds of the items, sorted by
        name, train (kos01 to kos33 of 50). The normal images of the others and all cracked ones
        test. An image is normal where its mask is empty.

        Args:
          data_dir: holds kos01 to kos50, or train/good, test and ground_truth; or the folder
            KolektorSDD that does.
          category: "commutator" or None.

        Returns:
          The listing; the defect is "crack", or as the folders of MVTec AD's layout are named.

        Raises:
          InputError: if the folder has another layout, or if images or masks are missing.
        """
        root = require_folder("kolektor_sdd", data_dir, _ADVICE, (_TOP,))
        if category is not None:
            require_category("kolektor_sdd", category, (CATEGORY,))
        if child(root, "train").is_dir():
            return list_layout(root, CATEGORY)
        items = [path for path in subfolders(root) if path.name.lower().startswith("kos")]
        if not items:
            raise InputError(
                f"kolektor_sdd: no folders kos01 to kos50 in {printable(root)}; {_ADVICE}"
            )
        found = scan(root, first=items)
        read = {path for item in items for path in found.below(item).images}
        marked = sort_by_masks("kolektor_sdd", sorted(read), root, _ADVICE)
        beside = [path for path in found.images if path not in read]
        trained = {item.name for item in items[: 2 * len(items) // 3]}
        train: list[Record] = []
        test = marked.anomalous_records(root, DEFECT)
        for path in marked.normal:
            item = path.relative_to(root).parts[0]
            (train if item in trained else test).append(Record(relative_name(path, root), path))
        return Listing(
            category=CATEGORY,
            train=train,
            test=test,
            sources=mask_sources(marked.masks),
            notes=[*marked.notes, *beside_notes(beside), *found.notes()],
        )
