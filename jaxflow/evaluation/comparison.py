"""The tables of a comparison."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxflow.evaluation.tables import (
    MISSING,
    ResultRow,
    format_table,
    write_atomically,
    write_metrics_json,
)

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro", "image_f1_max")


class Finished(NamedTuple):
    """A run of a comparison and its results.

    Attributes:
      variant: what is compared: a row of the table.
      category: of the data set.
      seed: of the run.
      rows: a row for each selection and score.
    """

    variant: str
    category: str
    seed: int
    rows: list[ResultRow]


def write_comparison(folder: Path, finished: Sequence[Finished]) -> str:
    """Write comparison.json (every cell), .csv (the summary) and .md; return the table as text.

    Args:
      folder: made if missing.
      finished: the cells that were run to the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(finished)
    table = [_readable(row) for row in summary]
    write_metrics_json(
        folder / "comparison.json",
        {
            "summary": summary,
            "cells": [
                {
                    "variant": cell.variant,
                    "category": cell.category,
                    "seed": cell.seed,
                    "selection": row.name,
                    "score": row.score,
                    **row.metrics,
                }
                for cell in finished
                for row in cell.rows
            ],
        },
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, summary[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary)
    write_atomically(folder / "comparison.csv", text.getvalue())
    write_atomically(folder / "comparison.md", format_table(table, markdown=True) + "\n")
    return format_table(table)


def summarize(finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """Average each variant, selection and score over categories and seeds.

    The mean is over all cells; the standard deviation is over the seeds of the means over
    categories, so that it tells how much another seed would change the row.

    Returns:
      A row each: variant, selection, score, seeds, categories, and for each metric its mean and
      `<metric>_std`; None where a metric is missing or there is one seed.
    """
    groups: dict[tuple[str, str, str], list[tuple[Finished, ResultRow]]] = {}
    for cell in finished:
        for row in cell.rows:
            groups.setdefault((cell.variant, row.name, row.score), []).append((cell, row))
    summary = []
    for (variant, selection, score), members in groups.items():
        seeds = sorted({cell.seed for cell, _ in members})
        line: dict[str, Any] = {
            "variant": variant,
            "selection": selection,
            "score": score,
            "seeds": len(seeds),
            "categories": len({cell.category for cell, _ in members}),
        }
        for metric in METRICS:
            by_seed = [_mean(members, metric, seed) for seed in seeds]
            values = [value for value in by_seed if value is not None]
            line[metric] = float(np.mean(values)) if values else None
            line[f"{metric}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary.append(line)
    return summary


def _mean(members: Sequence[tuple[Finished, ResultRow]], metric: str, seed: int) -> float | None:
    """Return the mean over the categories of one seed."""
    values = [r.metrics[metric] for c, r in members if c.seed == seed and metric in r.metrics]
    return float(np.mean(values)) if values else None


def _readable(row: dict[str, Any]) -> dict[str, object]:
    shown: dict[str, object] = {key: row[key] for key in ("variant", "selection", "score")}
    for metric in METRICS:
        mean, std = row[metric], row[f"{metric}_std"]
        spread = "" if std is None else f" ± {std:.3f}"
        shown[metric] = MISSING if mean is None else f"{mean:.3f}{spread}"
    return shown
