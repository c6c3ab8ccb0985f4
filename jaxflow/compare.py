r"""Compare variants under one protocol: configs x choices x categories x seeds in one table.

    python -m jaxflow.compare --configs=configs/fastflow_resnet18.py \
        --workdir=runs/ablation --set=data.name=magnetic_tile \
        --set=data.data_dir=PATH --set=training.epochs=4 \
        --vary=model.normalization=none,layer_norm \
        --vary=model.coupling=affine,additive
    python -m jaxflow.compare --table=fastflow-5 --workdir=runs/kernels \
        --set=data.data_dir=PATH

Writes comparison.md, .csv and .json into the workdir: for each variant the mean over categories
and seeds, and the standard deviation over seeds; with several categories, comparison_categories.csv
too. --table runs a table of the papers and puts the published figures beside ours; --rows picks
some of its rows. A cell is a run of its own in WORKDIR/cells; one that is finished is not run
again, one that fails is reported and the rest go on (exit code 1 then).
"""

if __name__ == "__main__":
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

import contextlib
import copy
import dataclasses
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from jax.experimental.compilation_cache import compilation_cache
from tqdm import tqdm

from jaxflow.errors import InputError, RunStopped
from jaxflow.evaluate import evaluate
from jaxflow.experiments import command_line
from jaxflow.experiments.build import deciding_score, make_dataset
from jaxflow.experiments.cells import Cell, Variant, apply, cells_of, changed_keys
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.config import load_config
from jaxflow.experiments.describe import run_facts
from jaxflow.experiments.papers.figures import FIGURES, PublishedTable
from jaxflow.experiments.papers.runs import TABLES
from jaxflow.experiments.run_folder import check_facts, check_places, load_run, make_folder
from jaxflow.files import (
    check_outputs,
    check_writable,
    explain,
    locked,
    read_sealed_json,
    remove_parts,
    write_sealed_json,
)
from jaxflow.reports.comparison import Comparison, Finished, write_comparison
from jaxflow.reports.tables import ResultRow, apart
from jaxflow.train import load_encoder_or_random, train

# Programs that compile faster are compiled anew, seconds; JAX's own bound is 1.
_WORTH_KEEPING_S = 0.2
_COMPILED = ".compiled."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "configs", None, "configurations: Python files, which are run", flag_values=values
    )
    flags.DEFINE_string("table", None, f"a paper's table: {', '.join(TABLES)}", flag_values=values)
    flags.DEFINE_list("rows", None, "rows of --table; default: all", flag_values=values)
    flags.DEFINE_string(
        "config_dir", "configs", "folder of the configs of --table", flag_values=values
    )
    flags.DEFINE_string("workdir", None, "folder of the comparison", flag_values=values)
    flags.DEFINE_multi_string(
        "set", [], "KEY=VALUE for all cells; can be repeated", flag_values=values
    )
    flags.DEFINE_multi_string(
        "vary", [], "KEY=VALUE,VALUE,...: a variant each; can be repeated", flag_values=values
    )
    flags.DEFINE_list(
        "categories", [], "categories; default: the table's or the config's", flag_values=values
    )
    flags.DEFINE_list("seeds", ["0"], "seeds of the runs, separated by commas", flag_values=values)
    flags.DEFINE_bool("oracle", False, "add best on test, marked", flag_values=values)


class _Plan(NamedTuple):
    """What is compared: variants, the categories unless the user names some, what to print."""

    variants: list[Variant]
    categories: Sequence[str]
    comparison: Comparison


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir")
    plan = _plan(values)
    cells = cells_of(
        plan.variants,
        settings=values.set,
        varied=values.vary,
        categories=values.categories or plan.categories,
        seeds=_seeds(values.seeds),
    )
    workdir = Path(values.workdir)
    for cell in cells:
        check_config(cell.config)
        check_places(cell.config, workdir)
    check_writable("workdir", workdir)
    check_outputs("workdir", [workdir / "comparison.json"])
    make_folder("workdir", workdir)
    with locked(workdir, "another comparison"):
        remove_parts(workdir)
        return _compare(cells, plan.comparison, values, workdir)


def _compare(
    cells: Sequence[Cell], comparison: Comparison, values: flags.FlagValues, workdir: Path
) -> int:
    """Run the cells and write the tables; return the exit code."""
    with _compiled_once(workdir):
        finished, failed = _run_all(cells, workdir / "cells", values.oracle)
    if not finished:
        raise InputError(f"all {len(failed)} cells failed; the lines above say why")
    notes = (*comparison.notes, *_told(values.set), *_random(finished))
    say(write_comparison(workdir, finished, comparison._replace(notes=notes, failed=failed)))
    say(f"tables: {workdir / 'comparison.md'}, .csv and .json")
    return 1 if failed else 0


def _plan(values: flags.FlagValues) -> _Plan:
    if values.table is not None and values.configs:
        raise InputError("--table has configs of its own; give either --configs or --table")
    if values.table is not None:
        return _table_plan(values)
    if values.rows:
        raise InputError("--rows picks rows of a --table; leave it out with --configs")
    if not values.configs:
        raise InputError("--configs or --table is missing; see --help")
    variants = [Variant(Path(path).stem, load_config(path)) for path in values.configs]
    return _Plan(variants, (), Comparison())


def _table_plan(values: flags.FlagValues) -> _Plan:
    if values.table not in TABLES:
        raise InputError(f"--table={values.table}: no such table; there are {', '.join(TABLES)}")
    table, published = TABLES[values.table], FIGURES[values.table]
    chosen = values.rows or list(table.rows)
    for name in chosen:
        if name not in table.rows:
            raise InputError(
                f"--rows: {values.table} has no row {name!r}; its rows are {', '.join(table.rows)}"
            )
    variants, same_data = [], not any(text.startswith("data.name=") for text in values.vary)
    for name in chosen:
        row = table.rows[name]
        config = load_config(str(Path(values.config_dir) / f"{row.config}.py"))
        apply(config, [f"data.name={table.data}"])
        apply(config, [*table.settings, *row.settings])
        asked = copy.deepcopy(config)
        apply(asked, values.set)
        same_data = same_data and asked.data.name == table.data
        variants.append(Variant(name, config, table.category_settings))
    title = f"{table.title} ({values.table})"
    if same_data:
        # The rows chosen, and the other methods that the paper prints.
        rows = {n: r for n, r in published.rows.items() if n in chosen or n not in table.rows}
        published = PublishedTable(published.source, rows)
        return _Plan(variants, table.categories, Comparison(title, published, table.notes))
    note = f"the published figures are left out: they are of {table.data}, not of these data"
    plain = [Variant(variant.name, variant.config) for variant in variants]
    return _Plan(plain, (), Comparison(title, notes=(note, *table.notes)))


def _told(settings: Sequence[str]) -> list[str]:
    """Say what was set for all cells: a reader of the table must know, but for where files lie."""
    told = []
    for text in settings:
        key, _, value = text.partition("=")
        if key not in ("data.data_dir", "data.cache_dir"):
            told.append(f"{key}={Path(value).name if key == 'encoder.weights' else value}")
    return [f"set for all: {', '.join(told)}"] if told else []


def _random(finished: Sequence[Finished]) -> list[str]:
    """Say which rows had an encoder of random weights."""
    names = sorted({cell.variant for cell in finished if cell.random_weights})
    reason = "the encoder's weights are RANDOM, the figures say nothing"
    return [f"{reason}: {', '.join(names)}"] if names else []


def _seeds(texts: Sequence[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise InputError(f"--seeds: expected whole numbers, got {','.join(texts)}") from error


@contextlib.contextmanager
def _compiled_once(workdir: Path) -> Iterator[None]:
    """Keep what is compiled for the cells to come, in a folder that is gone at the end.

    Cells of other seeds and categories need the same programs. Nothing is changed where the user
    has JAX keep them already. What a killed comparison left is removed.
    """
    for left in workdir.glob(f"{_COMPILED}*"):
        shutil.rmtree(left, ignore_errors=True)
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {key: getattr(jax.config, key) for key in keys}
    if before[keys[0]]:
        yield
        return
    with tempfile.TemporaryDirectory(prefix=_COMPILED, dir=workdir) as folder:
        # On a full disk programs are only compiled again.
        warnings.filterwarnings("ignore", "Error (writing|reading) persistent compilation cache")
        try:
            _set_cache(dict(zip(keys, (folder, _WORTH_KEEPING_S), strict=True)))
            yield
        finally:
            _set_cache(before)


def _set_cache(settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        jax.config.update(key, value)
    compilation_cache.reset_cache()  # JAX looks at the settings once alone.


def _run_all(
    cells: Sequence[Cell], folder: Path, oracle: bool
) -> tuple[list[Finished], dict[str, str]]:
    """Run the cells; return the finished ones, and for each failed one's name the reason."""
    finished: list[Finished] = []
    failed: dict[str, str] = {}
    for cell in tqdm(cells, unit="cell", desc="comparison", disable=None):
        try:
            finished.append(_run(cell, folder, oracle))
        except RunStopped as error:
            if error.exit_code > 128:  # A signal.
                raise
            failed[cell.name] = _report(cell, error)
        except (InputError, RuntimeError, MemoryError, OSError) as error:
            failed[cell.name] = _report(cell, error)
        jax.clear_caches()
    return finished, failed


def _report(cell: Cell, error: Exception) -> str:
    text = explain(error) if isinstance(error, OSError) else str(error)
    reason = " ".join(text.split())[:300]
    warn(f"cell {cell.name} failed: {reason}")
    return reason


def _run(cell: Cell, folder: Path, oracle: bool) -> Finished:
    """Train and evaluate a cell, or read what it gave before."""
    workdir = folder / cell.name
    done = workdir / ("cell_oracle.json" if oracle else "cell.json")
    if done.exists():
        content = _read_cell(cell, workdir, done)
    else:
        cell.config.training.keep_all = oracle
        train(cell.config, workdir)
        rows = evaluate(cell.config, workdir, oracle=oracle, pictures=6).rows
        content = {
            "rows": [dataclasses.asdict(row) for row in rows],
            "config": json.loads(cell.config.to_json()),
            "facts": load_run(workdir)[1],
        }
        write_sealed_json(done, content)
    rows = [each for row in content["rows"] for each in apart(ResultRow(**row))]
    random = content["config"]["encoder"]["weights"] == "random"
    score = deciding_score(cell.config)
    return Finished(cell.variant, cell.category, cell.seed, rows, score, random)


def _read_cell(cell: Cell, workdir: Path, done: Path) -> dict[str, Any]:
    """Read what a finished cell gave, if its config, its weights and its data are those of now.

    Raises:
      InputError: if they are not, or the file is damaged.
    """
    try:
        content = read_sealed_json(done)
    except InputError as error:
        raise InputError(f"{error}; delete it, and what was trained is evaluated again") from error
    if changed := changed_keys(cell.config, content["config"]):
        raise InputError(
            f"{workdir} was run with another {', '.join(changed[:5])}; use another --workdir"
        )
    encoder = load_encoder_or_random(cell.config)
    check_facts(workdir, content["facts"], run_facts(encoder, make_dataset(cell.config)))
    return content


if __name__ == "__main__":
    signals.leave(main())
