"""MVTec LOCO AD: five scenes with structural and logical anomalies."""

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.layouts import list_layout
from jaxflow.data.places import category_folder, require_folder
from jaxflow.data.records import Listing

CATEGORIES = (
    "breakfast_box",
    "juice_bottle",
    "pushpins",
    "screw_bag",
    "splicing_connectors",
)

_TOP = "mvtec_loco_anomaly_detection"
_ADVICE = (
    "unpack https://www.mvtec.com/company/research/datasets/mvtec-loco, so that the folder holds "
    "breakfast_box/train/good and breakfast_box/validation/good"
)


class MvtecLoco(AnomalyBuilder):
    """MVTec LOCO AD, one config per scene; the defects are its two kinds of anomaly.

    Each image has a folder of masks, one for each of its defects; a pixel is anomalous where any of
    them is not 0. The value of a mask says what the defect is, and defects_config.json how much of
    it must be found for full marks in sPRO. Neither is used: AUPRO counts every pixel.

    Reference: Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised
    Anomaly Detection and Localization", IJCV 130, 2022.
    """

    name = "mvtec_loco"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List one scene: all of train/good trains, and validation/good is the validation split.

        Args:
          data_dir: folder with one folder per category, or the one that holds it.
          category: one of `CATEGORIES`.

        Returns:
          The listing; defects are "logical_anomalies" and "structural_anomalies".

        Raises:
          InputError: if folder, category or normal images of train or validation are missing.
        """
        root = require_folder("mvtec_loco", data_dir, _ADVICE, (_TOP,))
        folder = category_folder("mvtec_loco", root, category, CATEGORIES, _ADVICE)
        return list_layout(folder, str(category), own_validation=True)
