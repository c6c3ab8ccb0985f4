r"""Compare variants under one protocol: configs x choices x categories x seeds in one table.

    python -m jaxflow.compare --configs=configs/fastflow_resnet18.py \
        --workdir=runs/ablation --set=data.name=magnetic_tile \
        --set=data.data_dir=PATH --set=training.epochs=4 \
        --vary=model.normalization=none,layer_norm \
        --vary=model.coupling=affine,additive
    python -m jaxflow.compare --table=fastflow-5 --workdir=runs/kernels \
        --set=data.data_dir=PATH

Writes comparison.md, .csv and .json into the workdir: for each variant the mean over categories
and seeds, the standard deviation over seeds, and what it costs; comparison_likelihood.png, where
likelihoods compare; with several categories, comparison_categories.csv. --table runs a table of the
papers and puts the published figures beside ours, or, with --table=variants, every family and flow
on the embedded data, and with --plugin=FILE those of the file too; --rows picks some of its rows.
Each cell is a separate run in WORKDIR/cells. A finished cell is not run again. A cell that fails is
reported, and the others go on; the exit code is then 1.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("compare")  # It imports this module again, and ends the process.

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxflow.errors import InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.cell_runs import compiled_once, run_all
from jaxflow.experiments.cells import Cell, cells_of
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.command_line import say
from jaxflow.experiments.plans import plan_of, tables, told
from jaxflow.experiments.run_folder import check_places, make_folder
from jaxflow.files import check_outputs, check_writable, locked, remove_parts
from jaxflow.reports.compared import Comparison, random_note
from jaxflow.reports.comparison import write_comparison


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "configs", None, "configurations: Python files, which are run", flag_values=values
    )
    flags.DEFINE_string("table", None, f"a table: {', '.join(tables())}", flag_values=values)
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


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    command_line.required(values, "workdir")
    plan = plan_of(
        values.configs,
        values.table,
        values.rows,
        config_dir=Path(values.config_dir),
        settings=values.set,
        varied=values.vary,
    )
    cells = cells_of(
        plan.variants,
        settings=values.set,
        varied=values.vary,
        categories=values.categories or plan.categories,
        seeds=command_line.integers("seeds", values.seeds),
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
    with compiled_once(workdir):
        finished, failed = run_all(cells, workdir / "cells", values.oracle)
    if not finished:
        raise InputError(f"all {len(failed)} cells failed; the lines above say why")
    notes = (*comparison.notes, *told(values.set), *random_note(finished))
    say(write_comparison(workdir, finished, comparison._replace(notes=notes, failed=failed)))
    say(f"tables: {workdir / 'comparison.md'}, .csv and .json")
    return 1 if failed else 0
