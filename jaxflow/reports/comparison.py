"""The tables of a comparison."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxflow.files import SIGNED, write_atomically, write_json
from jaxflow.reports.tables import (
    MISSING,
    SAME,
    ResultRow,
    format_table,
)

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro", "pixel_aupimo", "image_f1_max")
PUBLISHED = "published"


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table as a paper prints it, as fractions.

    Attributes:
      mean: the printed mean by metric.
      categories: how many categories the mean is over.
      by_category: category -> metric -> figure, where they are printed; `<metric>_std` beside it
        where a deviation is.
    """

    mean: Mapping[str, float]
    categories: int
    by_category: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
      source: paper, table and section.
      rows: by the name of what is measured, in the paper's order.
    """

    source: str
    rows: Mapping[str, PublishedRow]


class Finished(NamedTuple):
    """A run of a comparison and its results.

    Attributes:
      variant: what is compared: a row of the table.
      category: of the data set.
      seed: of the run.
      rows: a row for each selection and score.
      score: the one that the run's decisions use, shown by category.
      random_weights: whether the encoder's weights were drawn, not learned.
    """

    variant: str
    category: str
    seed: int
    rows: list[ResultRow]
    score: str = "probability"
    random_weights: bool = False


def random_note(finished: Sequence[Finished]) -> list[str]:
    """Say which rows had an encoder of random weights."""
    names = sorted({cell.variant for cell in finished if cell.random_weights})
    reason = "the encoder's weights are RANDOM, the figures say nothing"
    return [f"{reason}: {', '.join(names)}"] if names else []


class Comparison(NamedTuple):
    """What stands around the figures of a comparison.

    Attributes:
      title: what is compared, or "".
      published: a paper's figures, to be put beside ours; None: there are none.
      notes: what a reader must know, a sentence each.
      failed: for each cell that failed its name and the reason.
    """

    title: str = ""
    published: PublishedTable | None = None
    notes: Sequence[str] = ()
    failed: Mapping[str, str] = {}


def write_comparison(
    folder: Path, finished: Sequence[Finished], comparison: Comparison | None = None
) -> str:
    """Write comparison.json (every cell), .csv (the summary) and .md; return the table as text.

    With several categories, comparison_categories.csv is written too.

    Args:
      folder: made if missing.
      finished: the cells that were run to the end; at least one.
      comparison: what stands around them; None: nothing.
    """
    about = comparison or Comparison()
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(finished, about.published)
    by_category = categorize(finished, about.published)
    write_json(
        folder / "comparison.json",
        {
            **SIGNED,
            "title": about.title,
            "published_source": about.published.source if about.published else None,
            "notes": about.notes,
            "failed": about.failed,
            "summary": summary,
            "by_category": by_category,
            "cells": [_cell(cell, row) for cell in finished for row in cell.rows],
        },
    )
    _write_csv(folder / "comparison.csv", summary)
    if by_category:
        _write_csv(folder / "comparison_categories.csv", by_category)
    write_atomically(folder / "comparison.md", _markdown(about, summary, by_category))
    return "\n".join([format_table(_shown_once(summary)), *_remarks(about)])


def summarize(
    finished: Sequence[Finished], published: PublishedTable | None = None
) -> list[dict[str, Any]]:
    """Average each variant, selection and score over categories and seeds.

    The mean is over all cells; the standard deviation is over the seeds of the means over
    categories, so that it tells how much another seed would change the row.

    Args:
      finished: the cells.
      published: figures of the same rows and of other methods.

    Returns:
      A row each: variant, selection, score, seeds, categories, source, and for each metric its mean
      and `<metric>_std`; None where a metric is missing or there is one seed. A published row has
      the selection "published" and a source. It averages the categories that were run where the
      paper prints them, else it is the printed mean, over as many categories as it says.
    """
    groups: dict[tuple[str, str, str], list[tuple[Finished, ResultRow]]] = {}
    for cell in finished:
        for row in cell.rows:
            groups.setdefault((cell.variant, row.name, row.score), []).append((cell, row))
    lines = [_line(name, members) for name, members in groups.items()]
    if published is None:
        return lines
    categories = {cell.category for cell in finished}
    theirs = {
        name: _published_line(name, row, categories, published.source)
        for name, row in published.rows.items()
    }
    summary = []
    for variant in dict.fromkeys(line["variant"] for line in lines):
        summary += [line for line in lines if line["variant"] == variant]
        summary += [theirs.pop(variant)] if variant in theirs else []
    return summary + list(theirs.values())


def categorize(
    finished: Sequence[Finished], published: PublishedTable | None = None
) -> list[dict[str, Any]]:
    """Lay the figures out by category, with the published ones in columns beside ours.

    Args:
      finished: the cells; what is shown is the score that a run's decisions use, with the
        parameters that are best by validation, or the last where there are none.
      published: figures of the same rows.

    Returns:
      A row for each category and variant, with the mean over seeds of each metric and, where there
      are published figures, `<metric>_published`; none where there is one category.
    """
    groups: dict[tuple[str, str], list[Finished]] = {}
    for cell in finished:
        groups.setdefault((cell.category, cell.variant), []).append(cell)
    if len({category for category, _ in groups}) < 2:
        return []
    rows = []
    for category, variant in sorted(groups, key=lambda key: key[0]):
        shown = [_shown(cell) for cell in groups[category, variant]]
        printed = published.rows.get(variant) if published else None
        theirs = printed.by_category.get(category, {}) if printed else {}
        row: dict[str, Any] = {"category": category, "variant": variant, "seeds": len(shown)}
        row |= {"selection": shown[0].name, "score": shown[0].score}
        for metric in METRICS:
            values = [r.metrics[metric] for r in shown if metric in r.metrics]
            row[metric] = float(np.mean(values)) if values else None
            if published:
                row[f"{metric}_{PUBLISHED}"] = theirs.get(metric)
        rows.append(row)
    return rows


def _shown(cell: Finished) -> ResultRow:
    rows = [row for row in cell.rows if row.score == cell.score and not row.oracle]
    return next((row for row in rows if row.selection != "last"), rows[0])


def _line(
    name: tuple[str, str, str], members: Sequence[tuple[Finished, ResultRow]]
) -> dict[str, Any]:
    variant, selection, score = name
    seeds = sorted({cell.seed for cell, _ in members})
    line: dict[str, Any] = {
        "variant": variant,
        "selection": selection,
        "score": score,
        "seeds": len(seeds),
        "categories": len({cell.category for cell, _ in members}),
        "source": None,
    }
    for metric in METRICS:
        by_seed = [_mean(members, metric, seed) for seed in seeds]
        values = [value for value in by_seed if value is not None]
        line[metric] = float(np.mean(values)) if values else None
        line[f"{metric}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return line


def _published_line(
    name: str, row: PublishedRow, categories: set[str], source: str
) -> dict[str, Any]:
    figures, count = dict(row.mean), row.categories
    if categories < row.by_category.keys():
        chosen = [row.by_category[category] for category in sorted(categories)]
        common = [metric for metric in METRICS if all(metric in c for c in chosen)]
        figures = {metric: float(np.mean([c[metric] for c in chosen])) for metric in common}
        count = len(categories)
    line: dict[str, Any] = {"variant": name, "selection": PUBLISHED, "score": None, "seeds": None}
    line |= {"categories": count, "source": source}
    for metric in METRICS:
        line |= {metric: figures.get(metric), f"{metric}_std": None}
    return line


def _mean(members: Sequence[tuple[Finished, ResultRow]], metric: str, seed: int) -> float | None:
    """Return the mean over the categories of one seed."""
    values = [r.metrics[metric] for c, r in members if c.seed == seed and metric in r.metrics]
    return float(np.mean(values)) if values else None


def _cell(cell: Finished, row: ResultRow) -> dict[str, Any]:
    return {
        "variant": cell.variant,
        "category": cell.category,
        "seed": cell.seed,
        "selection": row.name,
        "score": row.score,
        **row.metrics,
    }


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _markdown(
    about: Comparison, summary: Sequence[dict[str, Any]], by_category: Sequence[dict[str, Any]]
) -> str:
    parts = [f"# {about.title}"] if about.title else []
    parts.append(format_table(_shown_once(summary), markdown=True))
    if by_category:
        empty = {key for key in by_category[0] if all(row[key] is None for row in by_category)}
        kept = [{k: v for k, v in row.items() if k not in empty} for row in by_category]
        parts += ["## By category", format_table(kept, markdown=True)]
    parts += [f"- {remark}" for remark in _remarks(about)]
    return "\n\n".join(parts) + "\n"


def _remarks(about: Comparison) -> list[str]:
    remarks = []
    if about.published:
        remarks.append(f"{PUBLISHED}: {about.published.source}; not measured here")
    remarks += about.notes
    return remarks + [f"failed: {name}: {reason}" for name, reason in about.failed.items()]


def _shown_once(summary: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Return the lines as they are read; `last` and `best` are one where all figures are equal."""
    last, best = SAME.split(" = ")
    lines = [_readable(row) for row in summary]
    kept = []
    for line in lines:
        twin = {**line, "selection": best if line["selection"] == last else last}
        if line["selection"] == last and twin in lines:
            kept.append({**line, "selection": SAME})
        elif line["selection"] != best or twin not in lines:
            kept.append(line)
    return kept


def _readable(row: dict[str, Any]) -> dict[str, object]:
    keys = ("variant", "selection", "score", "seeds", "categories")
    shown: dict[str, object] = {key: row[key] for key in keys}
    for metric in METRICS:
        mean, std = row[metric], row[f"{metric}_std"]
        spread = "" if std is None else f" ± {std:.3f}"
        shown[metric] = MISSING if mean is None else f"{mean:.3f}{spread}"
    return shown
