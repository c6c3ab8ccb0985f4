"""What a benchmark says and writes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxflow.experiments.benchmarking.complexity import split_columns
from jaxflow.experiments.benchmarking.machine import peak_memory
from jaxflow.experiments.command_line import say
from jaxflow.files import write_json
from jaxflow.reports.tables import format_table


def report(
    facts: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], output: Path | None
) -> None:
    """Say each figure when it is measured, then all in a table; write them as JSON.

    Args:
      facts: what they were measured on.
      rows: of the table, measured as they are asked for.
      output: JSON file; None: nothing is written.
    """
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


def _header(facts: Mapping[str, Any]) -> list[str]:
    """Say in lines what timings were measured on, from the facts of a benchmark."""
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
