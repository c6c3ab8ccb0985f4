"""Magnetic Tile Defects: grey photographs of tiles, five kinds of defect."""

import random

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import beside_notes, mask_content, mask_sources, pair_masks, relative_name
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import child, scan
from jaxflow.errors import InputError

CATEGORY = "tile"
DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")

_PHOTOGRAPHS = (".jpg", ".jpeg")

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
        folders = {kind: child(root, f"MT_{kind}") for kind in ("Free", *DEFECTS)}
        found = scan(root, first=tuple(folders.values()))
        images = {
            kind: found.below(child(folder, "Imgs")).images for kind, folder in folders.items()
        }
        photographs = {
            kind: [path for path in paths if path.suffix.lower() in _PHOTOGRAPHS]
            for kind, paths in images.items()
        }
        missing = [kind for kind, paths in photographs.items() if not paths]
        if missing:
            what = "normal images" if missing[0] == "Free" else "images"
            raise InputError(
                f"magnetic_tile: no {what} MT_{missing[0]}/Imgs/*.jpg in {printable(root)}; "
                f"{_ADVICE}"
            )
        photographed = [path for kind in DEFECTS for path in photographs[kind]]
        masks = [path for kind in DEFECTS for path in images[kind] if path.suffix.lower() == ".png"]
        matched, notes = pair_masks(photographed, root, masks, root)
        # The masks of normal images, which are empty, are not read.
        known = {
            path
            for paths in images.values()
            for path in paths
            if path.suffix.lower() in (*_PHOTOGRAPHS, ".png")
        }
        beside = [path for path in found.images if path not in known]
        normal = photographs["Free"]
        random.Random(0).shuffle(normal)
        cut = int(0.8 * len(normal))
        return Listing(
            category=CATEGORY,
            train=[Record(relative_name(path, root), path) for path in normal[:cut]],
            test=[Record(relative_name(path, root), path) for path in normal[cut:]]
            + [
                Record(
                    relative_name(path, root), path, kind.lower(), mask_content(matched.get(path))
                )
                for kind in DEFECTS
                for path in photographs[kind]
            ],
            sources=mask_sources(matched),
            notes=[*notes, *beside_notes(beside), *found.notes()],
        )
