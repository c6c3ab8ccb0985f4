"""The tables of a comparison."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxflow.files import SIGNED, write_atomically, write_json
from jaxflow.reports.compared import (
    Comparison,
    Finished,
    PublishedRow,
    PublishedTable,
)
from jaxflow.reports.pictures import save_figure
from jaxflow.reports.scatter import likelihood_figure
from jaxflow.reports.tables import (
    MISSING,
    SAME,
    VALIDATION_NLL,
    ResultRow,
    format_table,
)
from jaxflow.reports.variants import COSTS, complexity, features_note, overview, points

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro", "pixel_aupimo", "image_f1_max")
PUBLISHED = "published"


def write_comparison(
    folder: Path, finished: Sequence[Finished], comparison: Comparison | None = None
) -> str:
    """Write comparison.json (every cell), .csv (the summary) and .md; return the tables as text.

    With several categories, comparison_categories.csv is written too; with two variants or more
    whose likelihoods compare, comparison_likelihood.png, their picture.

    Args:
      folder: made if missing.
      finished: the cells that were run to the end; at least one.
      comparison: what stands around them; None: nothing.
    """
    about = comparison or Comparison()
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(finished, about.published)
    by_category = categorize(finished, about.published)
    variants, notes = overview(summary, finished)
    about = about._replace(notes=[*about.notes, *notes, *features_note(finished)])
    picture, groups = folder / "comparison_likelihood.png", points(summary, finished)
    if groups:
        save_figure(picture, likelihood_figure(groups))
    else:
        picture.unlink(missing_ok=True)  # Of an earlier call, of more variants.
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
    tables = {
        "Variants": variants,
        "Complexity": complexity(summary, finished),
        "Scores and selections": _shown_once(summary),
        "By category": _without_empty(by_category),
    }
    write_atomically(
        folder / "comparison.md", _markdown(about, tables, picture.name if groups else "")
    )
    return "\n".join(
        [format_table(_shown_once(summary)), "", format_table(variants), *_remarks(about)]
    )


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
        shown = [cell.shown for cell in groups[category, variant]]
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
    reasons = {row.skipped[VALIDATION_NLL] for _, row in members if VALIDATION_NLL in row.skipped}
    line["no_validation_nll"] = "; ".join(sorted(reasons)) or None
    for metric in (*METRICS, *COSTS):
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
    line |= {"categories": count, "source": source, "no_validation_nll": None}
    for metric in (*METRICS, *COSTS):
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


def _without_empty(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the columns in which no row has anything."""
    return [
        {key: value for key, value in row.items() if any(r[key] is not None for r in rows)}
        for row in rows
    ]


def _markdown(
    about: Comparison, tables: Mapping[str, Sequence[Mapping[str, Any]]], picture: str
) -> str:
    """Write the tables that have rows, below the name of the picture, if there is one."""
    parts = [f"# {about.title}"] if about.title else []
    parts += [f"![Likelihood against detection]({picture})"] if picture else []
    for title, rows in tables.items():
        parts += [f"## {title}", format_table(rows, markdown=True)] if rows else []
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
