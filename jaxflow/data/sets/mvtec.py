"""MVTec AD: fifteen objects and textures, each with several kinds of defect."""

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.layouts import list_layout
from jaxflow.data.places import category_folder, require_folder
from jaxflow.data.records import Listing

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)

_SOURCE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"


class MvtecAd(AnomalyBuilder):
    """MVTec AD, one config per category; downloaded by hand, for its license asks for it.

    Reference: Bergmann et al., "MVTec AD - A Comprehensive Real-World Dataset for Unsupervised
    Anomaly Detection", CVPR 2019.
    """

    name = "mvtec_ad"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Unpack {_SOURCE} so that manual_dir holds bottle/train/good."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List one category.

        Args:
          data_dir: folder with one folder per category.
          category: one of `CATEGORIES`.

        Returns:
          The listing.

        Raises:
          InputError: if folder, category or normal images are missing.
        """
        advice = f"unpack {_SOURCE} there"
        root = require_folder("mvtec_ad", data_dir, advice)
        folder = category_folder("mvtec_ad", root, category, CATEGORIES, advice)
        return list_layout(folder, str(category))
