"""Compare variants under one protocol: configs x choices x categories x seeds in one table.

    python -m jaxflow.compare --configs=configs/fastflow_resnet18.py --workdir=runs/ablation \
        --set=data.name=magnetic_tile --set=data.data_dir=PATH --set=training.epochs=4 \
        --vary=model.normalization=none,layer_norm --vary=model.coupling=affine,additive

Writes comparison.md, .csv and .json into the workdir: for each variant the mean over categories
and seeds, and the standard deviation over seeds. A cell is a run of its own in WORKDIR/cells; one
that is finished is not run again, one that fails is reported and the rest go on (exit code 1 then).
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from tqdm import tqdm

from jaxflow import command_line
from jaxflow.cells import Cell, cells_of
from jaxflow.command_line import say, warn
from jaxflow.config import load_config
from jaxflow.errors import InputError, RunStopped
from jaxflow.evaluate import evaluate
from jaxflow.evaluation.comparison import Finished, write_comparison
from jaxflow.evaluation.tables import ResultRow, write_metrics_json
from jaxflow.train import train


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_list("configs", None, "configuration files", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder of the comparison", flag_values=values)
    flags.DEFINE_multi_string(
        "set", [], "KEY=VALUE for all cells; can be repeated", flag_values=values
    )
    flags.DEFINE_multi_string(
        "vary", [], "KEY=VALUE,VALUE,...: a variant each; can be repeated", flag_values=values
    )
    flags.DEFINE_list("categories", [], "categories; default: the config's", flag_values=values)
    flags.DEFINE_list("seeds", ["0"], "seeds", flag_values=values)
    flags.DEFINE_bool("oracle", False, "add best on test, marked", flag_values=values)


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "configs", "workdir")
    workdir = Path(values.workdir)
    cells = cells_of(
        {Path(path).stem: load_config(path) for path in values.configs},
        settings=values.set,
        varied=values.vary,
        categories=values.categories,
        seeds=_seeds(values.seeds),
    )
    finished, failed = [], 0
    for cell in tqdm(cells, unit="cell", desc="comparison"):
        try:
            rows = _run(cell, workdir / "cells", values.oracle)
            finished.append(Finished(cell.variant, cell.category, cell.seed, rows))
        except RunStopped as error:
            if error.exit_code == 130:
                raise
            failed += _report(cell, error)
        except (InputError, RuntimeError, MemoryError) as error:
            failed += _report(cell, error)
        jax.clear_caches()
    if not finished:
        raise InputError(f"all {failed} cells failed; the lines above say why")
    say(write_comparison(workdir, finished))
    say(f"tables: {workdir / 'comparison.md'}, .csv and .json")
    return 1 if failed else 0


def _seeds(texts: Sequence[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise InputError(f"--seeds: expected whole numbers, got {','.join(texts)}") from error


def _report(cell: Cell, error: Exception) -> int:
    warn(f"cell {cell.name} failed: {' '.join(str(error).split())[:300]}")
    return 1


def _run(cell: Cell, folder: Path, oracle: bool) -> list[ResultRow]:
    """Train and evaluate a cell, or read what it gave before."""
    done = folder / cell.name / ("cell_oracle.json" if oracle else "cell.json")
    if not done.exists():
        cell.config.training.keep_all = oracle
        workdir = folder / cell.name
        train(cell.config, workdir)
        rows = evaluate(cell.config, workdir, oracle=oracle, pictures=6)
        write_metrics_json(done, {"rows": [dataclasses.asdict(row) for row in rows]})
    return [ResultRow(**row) for row in json.loads(done.read_text())["rows"]]


if __name__ == "__main__":
    sys.exit(main())
