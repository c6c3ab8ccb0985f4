"""BTAD: three industrial products with body and surface defects."""

from pathlib import Path

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import (
    beside_notes,
    mask_content,
    mask_like,
    mask_sources,
    pair_masks,
    relative_name,
)
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import Scan, child, scan
from jaxflow.errors import InputError

CATEGORIES = ("01", "02", "03")

_TOP = "BTech_Dataset_transformed"
_ADVICE = (
    f"unpack the archive of github.com/pankajmishra000/VT-ADL, whose folder {_TOP} holds "
    "01/train/ok, 01/test/ok, 01/test/ko, 01/ground_truth/ko and the same for 02 and 03"
)


class Btad(AnomalyBuilder):
    """The beanTech anomaly detection data set, one config per product.

    Reference: Mishra et al., "VT-ADL: A Vision Transformer Network for Image Anomaly Detection and
    Localization", ISIE 2021.
    """

    name = "btad"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List one product.

        Args:
          data_dir: the folder BTech_Dataset_transformed or the one that holds it.
          category: one of `CATEGORIES`.

        Returns:
          The listing; the mask of ground_truth/ko has the stem of its image, and not always its
          suffix. The defect of an anomalous image is "ko", because the set names no other.

        Raises:
          InputError: if the folder has another layout, or if images or masks are missing.
        """
        root = require_folder("btad", data_dir, _ADVICE, (_TOP,))
        require_category("btad", category, CATEGORIES)
        folder = root / str(category)
        train, test, truth = (child(folder, name) for name in ("train", "test", "ground_truth"))
        found = scan(folder, first=(train, test, truth))
        places = child(train, "ok"), child(test, "ok"), child(test, "ko"), child(truth, "ko")
        normal, test_normal, anomalous, masks = (_images(place, found) for place in places)
        matched, notes = pair_masks(anomalous, test, masks, truth)
        empty_masks = found.below(child(truth, "ok")).images
        read = {*normal, *test_normal, *anomalous, *masks, *empty_masks}
        notes += beside_notes([path for path in found.images if path not in read])
        return Listing(
            category=str(category),
            train=[Record(relative_name(path, folder), path) for path in normal],
            test=[
                Record(relative_name(path, folder), path, "ko", mask_content(matched.get(path)))
                for path in anomalous
            ]
            + [Record(relative_name(path, folder), path) for path in test_normal],
            sources=mask_sources(matched),
            notes=[*notes, *found.notes(), *mask_like([*normal, *anomalous, *test_normal])],
        )


def _images(place: Path, found: Scan) -> list[Path]:
    images = found.below(place).images
    if not images:
        raise InputError(
            f"btad: no images (bmp or png) in {printable(place)}; {_ADVICE}"
            + "".join(f"; {note}" for note in found.below(place.parent).notes())
        )
    return images
