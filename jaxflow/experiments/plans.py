"""What a comparison compares: the variants of its flags."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxflow.errors import InputError
from jaxflow.experiments.cells import Variant, apply
from jaxflow.experiments.config import load_config
from jaxflow.experiments.papers.figures import FIGURES, PublishedTable
from jaxflow.experiments.papers.runs import TABLES
from jaxflow.reports.comparison import Comparison


class Plan(NamedTuple):
    """What is compared: variants, the categories unless the user names some, what to print."""

    variants: list[Variant]
    categories: Sequence[str]
    comparison: Comparison


def plan_of(
    configs: Sequence[str] | None,
    table: str | None,
    rows: Sequence[str] | None,
    *,
    config_dir: Path,
    settings: Sequence[str],
    varied: Sequence[str],
) -> Plan:
    """Compare configs, a variant each, or what a paper's table compares.

    Args:
      configs: files.
      table: a key of `TABLES`.
      rows: of the table; none: all.
      config_dir: folder of the table's configs.
      settings: "KEY=VALUE" each, that will be set for all; other data have no published figures.
      varied: "KEY=VALUE,VALUE,..." each, that will be varied.

    Raises:
      InputError: unless exactly one of configs and table is given, and is there.
    """
    if table is not None and configs:
        raise InputError("--table has configs of its own; give either --configs or --table")
    if table is not None:
        return _table_plan(table, rows or (), config_dir, settings, varied)
    if rows:
        raise InputError("--rows picks rows of a --table; leave it out with --configs")
    if not configs:
        raise InputError("--configs or --table is missing; see --help")
    variants = [Variant(Path(path).stem, load_config(path)) for path in configs]
    return Plan(variants, (), Comparison())


def _table_plan(
    name: str,
    rows: Sequence[str],
    config_dir: Path,
    settings: Sequence[str],
    varied: Sequence[str],
) -> Plan:
    if name not in TABLES:
        raise InputError(f"--table={name}: no such table; there are {', '.join(TABLES)}")
    table, published = TABLES[name], FIGURES[name]
    chosen = rows or list(table.rows)
    for each in chosen:
        if each not in table.rows:
            raise InputError(
                f"--rows: {name} has no row {each!r}; its rows are {', '.join(table.rows)}"
            )
    variants, same_data = [], not any(text.startswith("data.name=") for text in varied)
    for each in chosen:
        row = table.rows[each]
        config = load_config(str(config_dir / f"{row.config}.py"))
        apply(config, [f"data.name={table.data}"])
        apply(config, [*table.settings, *row.settings])
        asked = copy.deepcopy(config)
        apply(asked, settings)
        same_data = same_data and asked.data.name == table.data
        variants.append(Variant(each, config, table.category_settings))
    title = f"{table.title} ({name})"
    if same_data:
        # The rows chosen, and the other methods that the paper prints.
        printed = {n: r for n, r in published.rows.items() if n in chosen or n not in table.rows}
        published = PublishedTable(published.source, printed)
        return Plan(variants, table.categories, Comparison(title, published, table.notes))
    note = f"the published figures are left out: they are of {table.data}, not of these data"
    plain = [Variant(variant.name, variant.config) for variant in variants]
    return Plan(plain, (), Comparison(title, notes=(note, *table.notes)))


def told(settings: Sequence[str]) -> list[str]:
    """Say what was set for all cells: a reader of the table must know, except where files lie."""
    told = []
    for text in settings:
        key, _, value = text.partition("=")
        if key not in ("data.data_dir", "data.cache_dir"):
            told.append(f"{key}={Path(value).name if key == 'encoder.weights' else value}")
    return [f"set for all: {', '.join(told)}"] if told else []
