"""VisA: twelve objects, from single snacks to populated circuit boards."""

import csv
from collections.abc import Sequence
from pathlib import Path

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.example import NORMAL
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import list_layout, relative_name
from jaxflow.data.places import category_folder, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import child, scan
from jaxflow.errors import InputError

CATEGORIES = (
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
)
DEFECT = "anomaly"

_AROUND = ("VisA", "VisA_pytorch", "1cls")
_TABLE = "split_csv/1cls.csv"
_COLUMNS = ["object", "split", "label", "image", "mask"]
_LABELS = (("train", "normal"), ("test", "normal"), ("test", "anomaly"))
_ADVICE = (
    "unpack the archive of github.com/amazon-science/spot-diff, which holds split_csv/1cls.csv, "
    "candle/Data/Images/Normal and so on; or make MVTec AD's layout by its prepare_data.py"
)


class Visa(AnomalyBuilder):
    """The Visual Anomaly data set, one config per object; also in MVTec AD's layout.

    The split is that of the paper's 1-class setting: nine tenths of the normal images train.

    Reference: Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection
    and Segmentation", ECCV 2022, arXiv 2207.14315.
    """

    name = "visa"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(*, data_dir: str | None, category: str | None) -> Listing:
        """List one object.

        Args:
          data_dir: holds split_csv and a folder per object; or, made by prepare_data.py, the folder
            VisA_pytorch or its folder 1cls.
          category: one of `CATEGORIES`.

        Returns:
          The listing; the defect is "anomaly", in MVTec AD's layout "bad".

        Raises:
          InputError: if folder or category are missing, the table is missing or has other columns
            or labels, or a file that it names is missing.
        """
        root = require_folder("visa", data_dir, _ADVICE, _AROUND)
        folder = category_folder("visa", root, category, CATEGORIES, _ADVICE)
        if child(folder, "train").is_dir():
            return list_layout(folder, str(category))
        rows = [row for row in _read_table(root / _TABLE) if row["object"] == category]
        found = scan(folder)
        named = {root / row[kind] for row in rows for kind in ("image", "mask") if row[kind]}
        _require_files(named, set(found.images), root / _TABLE)
        unnamed = [path for path in found.images if path not in named]
        return Listing(
            category=str(category),
            train=_records(rows, root, folder, "train", "normal"),
            test=_records(rows, root, folder, "test", "anomaly")
            + _records(rows, root, folder, "test", "normal"),
            notes=[
                f"{len(unnamed)} images and masks that {_TABLE} does not name are not used, the "
                f"first is {printable(path)}"
                for path in unnamed[:1]
            ]
            + found.notes(),
        )


def _read_table(path: Path) -> list[dict[str, str]]:
    """Read the table of the split, and check its columns and labels."""
    if not path.is_file():
        raise InputError(f"visa: no file {printable(path)}; {_ADVICE}")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header, *cells = [*csv.reader(lines)] or [[]]
    if header != _COLUMNS:
        raise InputError(
            f"visa: {printable(path)} has the columns {printable(','.join(header)[:80])}, expected "
            f"{','.join(_COLUMNS)}; {_ADVICE}"
        )
    for number, row in enumerate(cells, 2):
        if len(row) != len(_COLUMNS) or (row[1], row[2]) not in _LABELS:
            raise InputError(
                f"visa: row {number} of {printable(path)} is {printable(','.join(row)[:80])}, "
                "expected a normal image of train, or a normal or anomaly image of test; get "
                f"{_TABLE} again, not that of another setting"
            )
    return [dict(zip(_COLUMNS, row, strict=True)) for row in cells]


def _require_files(named: set[Path], there: set[Path], table: Path) -> None:
    if missing := sorted(named - there):
        raise InputError(
            f"visa: {len(missing)} of {len(named)} images and masks that {printable(table)} names "
            f"are missing, the first is {printable(missing[0])}; unpack the archive again"
        )


def _records(
    rows: Sequence[dict[str, str]], root: Path, folder: Path, split: str, label: str
) -> list[Record]:
    return [
        Record(
            relative_name(root / row["image"], folder),
            root / row["image"],
            NORMAL if label == "normal" else DEFECT,
            root / row["mask"] if row["mask"] else None,
        )
        for row in sorted(rows, key=lambda row: row["image"])
        if (row["split"], row["label"]) == (split, label)
    ]
