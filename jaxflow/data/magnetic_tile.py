"""Magnetic Tile Defects: grey photographs of tiles, five kinds of defect."""

import random
from pathlib import Path

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.mvtec import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.errors import InputError

CATEGORY = "tile"
DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")

_ADVICE = (
    "get github.com/abin24/Magnetic-tile-defect-datasets., whose folder MT_Free/Imgs it must hold"
)


class MagneticTile(AnomalyBuilder):
    """Magnetic Tile Defects, split as the anomaly detection literature does.

    Reference: Huang, Qiu and Yuan, "Surface defect saliency of magnetic tile", The Visual
    Computer 36, 2020.
    """

    name = "magnetic_tile"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List the set: 80 % of the normal images train, the others and all defects test.

        The normal images are sorted and shuffled by `random.Random(0)`, so that every run of
        every program that does the same tests on the same images.

        Args:
          data_dir: holds MT_Free and five folders MT_<defect>, each with Imgs/*.jpg; the mask of a
            defective image is the png of the same name.
          category: "tile" or None.

        Returns:
          The listing; defects are in lower case.

        Raises:
          InputError: if the folder or the normal images are missing.
        """
        root = require_folder("magnetic_tile", data_dir, _ADVICE)
        if category is not None:
            require_category("magnetic_tile", category, (CATEGORY,))
        normal = _photographs(root, "Free")
        if not normal:
            raise InputError(
                f"magnetic_tile: no normal images MT_Free/Imgs/*.jpg in {root}; {_ADVICE}"
            )
        missing = [defect for defect in DEFECTS if not _photographs(root, defect)]
        if missing:
            raise InputError(
                f"magnetic_tile: no images MT_{missing[0]}/Imgs/*.jpg in {root}; {_ADVICE}"
            )
        random.Random(0).shuffle(normal)
        cut = int(0.8 * len(normal))
        defective = [_defective(path, root) for d in DEFECTS for path in _photographs(root, d)]
        return Listing(
            category=CATEGORY,
            train=[Record(path.relative_to(root).as_posix(), path) for path in normal[:cut]],
            test=[Record(path.relative_to(root).as_posix(), path) for path in normal[cut:]]
            + defective,
        )


def _photographs(root: Path, kind: str) -> list[Path]:
    return sorted((root / f"MT_{kind}" / "Imgs").glob("*.jpg"))


def _defective(path: Path, root: Path) -> Record:
    mask = path.with_suffix(".png")
    return Record(
        name=path.relative_to(root).as_posix(),
        image=path,
        defect=path.parent.parent.name.removeprefix("MT_").lower(),
        mask=mask if mask.is_file() else None,
    )
