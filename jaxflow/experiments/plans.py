"""What a comparison compares: the variants of its flags."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxflow.errors import InputError
from jaxflow.experiments.cells import Variant, apply
from jaxflow.experiments.config import load_config
from jaxflow.experiments.papers.figures import FIGURES
from jaxflow.experiments.papers.runs import TABLES, PaperTable
from jaxflow.experiments.variants import variants_table
from jaxflow.reports.compared import Comparison, PublishedTable


class Plan(NamedTuple):
    """What is compared: variants, the categories unless the user names some, what to print."""

    variants: list[Variant]
    categories: Sequence[str]
    comparison: Comparison


def tables() -> dict[str, PaperTable]:
    """Return what `--table` can name: the papers' tables, and that of all variants."""
    return {**TABLES, "variants": variants_table()}


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
      table: a key of `tables()`.
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
    known = tables()
    if name not in known:
        raise InputError(f"--table={name}: no such table; there are {', '.join(known)}")
    table, published = known[name], FIGURES.get(name)
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
        of_row = row.category_settings
        by_category = table.category_settings if of_row is None else of_row
        variants.append(Variant(each, config, by_category))
    title = f"{table.title} ({name})"
    if not same_data:
        return _other_data(variants, title, table, published)
    if published is None:
        return Plan(variants, table.categories, Comparison(title, notes=table.notes))
    # The rows chosen, and the other methods that the paper prints.
    printed = {n: r for n, r in published.rows.items() if n in chosen or n not in table.rows}
    absent = ", ".join(name for name in printed if name not in table.rows)
    note = (f"not run, for these systems are not here: {absent}",) if absent else ()
    published = PublishedTable(published.source, printed)
    return Plan(variants, table.categories, Comparison(title, published, (*note, *table.notes)))


def _other_data(
    variants: Sequence[Variant], title: str, table: PaperTable, published: PublishedTable | None
) -> Plan:
    """Run a table on other data than its own: without their categories and published figures."""
    note = f"the published figures are left out: they are of {table.data}, not of these data"
    notes = table.notes if published is None else (note, *table.notes)
    plain = [Variant(variant.name, variant.config) for variant in variants]
    return Plan(plain, (), Comparison(title, notes=notes))


def told(settings: Sequence[str]) -> list[str]:
    """Say what was set for all cells: a reader of the table must know, except where files lie."""
    told = []
    for text in settings:
        key, _, value = text.partition("=")
        if key not in ("data.data_dir", "data.cache_dir"):
            told.append(f"{key}={Path(value).name if key == 'encoder.weights' else value}")
    return [f"set for all: {', '.join(told)}"] if told else []
