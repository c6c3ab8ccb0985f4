"""MPDD: painted metal parts, photographed in changing positions and light."""

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.layouts import list_layout
from jaxflow.data.places import category_folder, require_folder
from jaxflow.data.records import Listing

CATEGORIES = (
    "bracket_black",
    "bracket_brown",
    "bracket_white",
    "connector",
    "metal_plate",
    "tubes",
)

_TOP = "MPDD"
_ADVICE = (
    "unpack the archive of github.com/stepanje/MPDD, so that the folder holds "
    "bracket_black/train/good"
)


class Mpdd(AnomalyBuilder):
    """The Metal Parts Defect Detection data set, one config per part, in MVTec AD's layout.

    Reference: Jezek et al., "Deep learning-based defect detection of metal parts: evaluating
    current methods in complex conditions", ICUMT 2021.
    """

    name = "mpdd"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List one part.

        Args:
          data_dir: the folder MPDD or the one that holds it.
          category: one of `CATEGORIES`.

        Returns:
          The listing.

        Raises:
          InputError: if folder, category or normal images are missing.
        """
        root = require_folder("mpdd", data_dir, _ADVICE, (_TOP,))
        folder = category_folder("mpdd", root, category, CATEGORIES, _ADVICE)
        return list_layout(folder, str(category))
