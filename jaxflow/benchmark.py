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
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import flags

from jaxflow.errors import InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.benchmarking import (
    COMPLEXITY,
    Workbench,
    complexity_rows,
    describe_machine,
    peak_memory,
    split_columns,
)
from jaxflow.experiments.build import (
    check_batches,
    deciding_score,
    image_size,
    make_detector,
    make_encoder,
    make_recipe,
)
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.command_line import say
from jaxflow.experiments.describe import describe_groups
from jaxflow.files import SIGNED, check_outputs, check_writable, write_json
from jaxflow.parallel import check_batch_size
from jaxflow.reports.tables import format_table
from jaxflow.training import Recipe

_MOST = 2**16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


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


def _main(values: flags.FlagValues) -> int:
    output = _output(values.output)
    batch_sizes = _integers("batch_sizes", values.batch_sizes) or _default_batch_sizes()
    for batch_size in batch_sizes:
        check_batch_size("--batch_sizes", batch_size)
    if (values.config is None) == (values.table is None):
        raise InputError("give either --config or --table; see --help")
    facts: dict[str, Any] = {**SIGNED, "machine": describe_machine(), "repeats": values.repeats}
    if values.table is None:
        for flag in ("encoders", "image_sizes"):
            if getattr(values, flag):
                raise InputError(f"--{flag} goes with --table; with --config set the config's keys")
        more, rows = _config_rows(values.config, batch_sizes, values.repeats)
        facts |= more
    else:
        rows = complexity_rows(
            values.table,
            encoders=values.encoders,
            sides=_integers("image_sizes", values.image_sizes),
            batch_sizes=batch_sizes,
            repeats=values.repeats,
        )
        table = COMPLEXITY[values.table]
        facts |= {"table": values.table, "source": table.source, "notes": list(table.notes)}
        facts["encoder_weights"] = "random"
    _report(facts, rows, output)
    return 0


def _output(path: str | None) -> Path | None:
    """Make the output's folder before anything is measured."""
    if path is None:
        return None
    output = Path(path)
    check_writable("output", output.parent)
    check_outputs("output", [output])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output {output}: its folder cannot be made ({error.strerror})"
        ) from error
    return output


def _integers(flag: str, texts: Sequence[str]) -> list[int]:
    for text in texts:
        if not text.isdecimal() or not 0 < int(text) <= _MOST:
            raise InputError(
                f"--{flag}: {text!r} is no integer from 1 to {_MOST}; write --{flag}=1,32"
            )
    return [int(text) for text in texts]


def _default_batch_sizes() -> list[int]:
    devices = jax.device_count()
    return sorted({devices, -(-32 // devices) * devices})


def _config_rows(
    config: ml_collections.ConfigDict, batch_sizes: Sequence[int], repeats: int
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Return the facts of a configuration, and its rows as they are measured.

    The hub's weights are replaced by random ones: speed does not depend on them.
    """
    check_config(config)
    if config.encoder.weights == "hub":
        config.encoder.weights = "random"
    encoder = make_encoder(config)
    check_batches(config, encoder)
    score = deciding_score(config)
    detector = make_detector(config, encoder, [score])
    facts = {
        "encoder": config.encoder.name,
        "encoder_weights": config.encoder.weights,
        "input_size": list(image_size(config)),
        "flow": f"{detector.describe()}; {describe_groups(config)}",
    }
    bench = Workbench(detector, image_size(config), repeats=repeats, seed=config.seed)
    recipe = make_recipe(config, "", 1)
    return facts, _measured(bench, recipe, batch_sizes, score)


def _measured(
    bench: Workbench, recipe: Recipe, batch_sizes: Sequence[int], score: str
) -> Iterator[dict[str, Any]]:
    for batch in batch_sizes:
        yield bench.encoder(batch).row("encoder alone", batch)
    batch = recipe.batch_size
    steps = {"kept features": False, "images": True} if bench.trained else {}
    for name, on_images in steps.items():
        timing = bench.training(batch, recipe, on_images=on_images)
        yield timing.row(f"training step on {name}", batch)
    for batch in batch_sizes:
        yield bench.scoring(batch).row(f"scoring ({score})", batch)


def _report(facts: dict[str, Any], rows: Iterator[dict[str, Any]], output: Path | None) -> None:
    for line in _header(facts):
        say(line)
    measured = []
    for row in rows:
        measured.append(row)
        name = row.get("what") or f"{row['encoder']}, input {row['input']}"
        say(f"measured {name}, batch {row['batch']}: {row['images/s']:.2f} images/s")
    say("")
    for table in split_columns(measured) if "table" in facts else (measured,):
        say(format_table(table) + "\n")
    holder, peak = peak_memory()
    say(f"peak memory of the {holder}: {peak:.0f} MB; memory MB is the compiler's plan for a call")
    if output is not None:
        peaks = {f"peak_{holder}_memory_mb": peak}
        say(f"written: {write_json(output, {**facts, 'rows': measured, **peaks})}")


def _header(facts: dict[str, Any]) -> list[str]:
    machine = facts["machine"]
    lines = [
        f"{machine['devices']} x {machine['device']} ({machine['platform']}), "
        f"{machine['processor']}, {machine['cpu_cores']} cores, jax {machine['jax']}",
    ]
    if "table" in facts:
        lines += [facts["source"], *(f"note: {note}" for note in facts["notes"])]
    else:
        size = "{} x {}".format(*facts["input_size"])
        lines.append(f"{facts['encoder']} at {size}; {facts['flow']}")
    weights = facts["encoder_weights"]
    said = "random: speed does not depend on them" if weights == "random" else weights
    return [*lines, f"encoder weights {said}; {facts['repeats']} repeats, medians"]


if __name__ == "__main__":
    signals.leave(main())
