r"""Measure the speed, the size and the memory of a detector, on whatever device is there.

    python -m jaxflow.benchmark --config=configs/fastflow_resnet18.py
    python -m jaxflow.benchmark --table=fastflow-1 \
        --encoders=resnet18,wide_resnet50_2

With --config: the encoder alone and scoring (images to anomaly maps) at each of --batch_sizes, and
one training step, on kept features and on images, at the config's batch size. With --table: the
detectors of a paper's complexity table (fastflow-1, cflow-6), beside the figures that it prints.

Times are medians of --repeats calls after warm-up, until the results are ready; compilation is
timed apart. Images lie on the device, so that reading and copying them is not timed. The encoder's
weights are random, on which speed does not depend, unless --config.encoder.weights is a file.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("benchmark")  # It imports this module again, and ends the process.

from pathlib import Path
from typing import Any

from absl import flags

from jaxflow.errors import InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.benchmarking import (
    COMPLEXITY,
    complexity_rows,
    config_rows,
    describe_machine,
    report,
    table_facts,
)
from jaxflow.experiments.run_folder import make_folder
from jaxflow.files import SIGNED, check_outputs
from jaxflow.parallel import check_batch_size, padded_size

_MOST = 2**16


def _define(values: flags.FlagValues) -> None:
    command_line.define_config(values)
    tables = ", ".join(COMPLEXITY)
    flags.DEFINE_string("table", None, f"complexity table: {tables}", flag_values=values)
    flags.DEFINE_list("encoders", [], "with --table: its rows (default: all)", flag_values=values)
    flags.DEFINE_list(
        "image_sizes", [], "with --table: sides of the input, pixels (default: the paper's)", values
    )
    flags.DEFINE_list(
        "batch_sizes", [], "images of a call (default: 1 a device, and about 32)", values
    )
    flags.DEFINE_integer(
        "repeats", 5, "timed calls", lower_bound=1, upper_bound=_MOST, flag_values=values
    )
    flags.DEFINE_string("output", None, "JSON file to write the figures to", flag_values=values)


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    output = _output(values.output)
    given = command_line.integers("batch_sizes", values.batch_sizes, 1, _MOST)
    batch_sizes = given or _default_batch_sizes()
    for batch_size in batch_sizes:
        check_batch_size("--batch_sizes", batch_size)
    if (values.config is None) == (values.table is None):
        raise InputError("give either --config or --table; see --help")
    facts: dict[str, Any] = {**SIGNED, "machine": describe_machine(), "repeats": values.repeats}
    if values.table is None:
        for flag in ("encoders", "image_sizes"):
            if getattr(values, flag):
                raise InputError(f"--{flag} goes with --table; with --config set the config's keys")
        more, rows = config_rows(values.config, batch_sizes, values.repeats)
        facts |= more
    else:
        rows = complexity_rows(
            values.table,
            encoders=values.encoders,
            sides=command_line.integers("image_sizes", values.image_sizes, 1, _MOST),
            batch_sizes=batch_sizes,
            repeats=values.repeats,
        )
        facts |= table_facts(values.table)
    report(facts, rows, output)
    return 0


def _output(path: str | None) -> Path | None:
    """Make the output's folder before anything is measured."""
    if path is None:
        return None
    output = Path(path)
    check_outputs("output", [output])
    make_folder("output", output.parent)
    return output


def _default_batch_sizes() -> list[int]:
    return sorted({padded_size(1), padded_size(32)})
