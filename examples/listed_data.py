r"""A data set of your own: images that a table names, wherever they lie.

    python -m jaxflow.train --config=configs/first_look.py --workdir=runs/listed \
        --plugin=examples/listed_data.py --config.data.name=listed --config.data.data_dir=PATH
    python -m jaxflow.evaluate --workdir=runs/listed --plugin=examples/listed_data.py

PATH holds images.csv, with the columns image, mask, split (train or test) and defect (good for a
normal image). A data set lists records; jaxflow checks, prepares, hashes and reads what they name.
What else `list_records` takes, here `table`, are its options, keys of `config.data.options`.
"""

import csv
from pathlib import Path

from jaxflow.data.builder import AnomalyBuilder
from jaxflow.data.loading import DATASETS
from jaxflow.data.records import Listing, Record
from jaxflow.errors import InputError


class Listed(AnomalyBuilder):
    """Images that a table names."""

    name = "listed"

    @staticmethod
    def list_records(*, data_dir, category, table="images.csv"):
        """List the rows of a table in data_dir."""
        path = Path(data_dir or "") / table
        if not path.is_file():
            raise InputError(f"listed: no table {path}; name its folder by data_dir")
        records = {"train": [], "test": []}
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            mask = path.parent / row["mask"] if row["mask"] else None
            record = Record(row["image"], path.parent / row["image"], row["defect"], mask)
            records[row["split"]].append(record)
        return Listing(category or "all", **records)


DATASETS["listed"] = Listed
