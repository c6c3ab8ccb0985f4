"""Measure the detectors of a paper's complexity table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxflow.detectors import FlowDetector
from jaxflow.encoders import ENCODERS, EncoderSpec, load_encoder
from jaxflow.errors import InputError
from jaxflow.experiments.benchmarking.workbench import Workbench
from jaxflow.experiments.papers.complexity import COMPLEXITY, Setting

# Columns that depend neither on the input's size nor on the batch.
_SIZES = ("additional M", "encoder MB", "model MB")


def complexity_rows(
    table: str,
    *,
    encoders: Sequence[str] = (),
    sides: Sequence[int] = (),
    batch_sizes: Sequence[int] = (1,),
    repeats: int = 5,
) -> Iterator[dict[str, Any]]:
    """Measure a table's detectors with random weights, one row each input size and batch size.

    Args:
      table: a key of `COMPLEXITY`.
      encoders: rows to measure; none: all.
      sides: of the square inputs, pixels; none: the paper's.
      batch_sizes: images of a call, over all devices.
      repeats: timed calls of each function.

    Returns:
      Rows by column, ours and then the paper's; "additional" is what comes on top of the encoder.
      Nothing is measured before the first row is asked for, but the names are checked at once.

    Raises:
      InputError: if the table or an encoder in it does not exist, or an encoder cannot take a side.
    """
    chosen = _find_settings(table, encoders)
    for name, setting in chosen.items():
        _check_sides(name, setting, sides)
    return _rows(chosen, sides, batch_sizes, repeats)


def table_facts(name: str) -> dict[str, Any]:
    """Return what stands around the figures of a table."""
    table = COMPLEXITY[name]
    return {
        "table": name,
        "source": table.source,
        "notes": list(table.notes),
        "encoder_weights": "random",
    }


def split_columns(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split rows into two narrower tables: speeds as they are, and sizes, one row an encoder.

    Args:
      rows: of `complexity_rows`.
    """
    sizes = {*_SIZES, *(f"paper {column}" for column in _SIZES)}
    speeds = [{c: value for c, value in row.items() if c not in sizes} for row in rows]
    by_encoder = {
        row["encoder"]: {c: value for c, value in row.items() if c in {"encoder", *sizes}}
        for row in rows
    }
    return speeds, list(by_encoder.values())


def _find_settings(table: str, encoders: Sequence[str]) -> dict[str, Setting]:
    if table not in COMPLEXITY:
        raise InputError(f"no table {table!r}; expected one of {', '.join(COMPLEXITY)}")
    settings = COMPLEXITY[table].settings
    for name in encoders:
        if name not in settings:
            raise InputError(
                f"encoder {name!r}: not in table {table}, expected some of {', '.join(settings)}"
            )
    return {name: settings[name] for name in encoders or settings}


def _check_sides(name: str, setting: Setting, sides: Sequence[int]) -> None:
    """Check the sides of all rows before the first is measured, which may take an hour."""
    spec = ENCODERS[name]
    assert isinstance(spec, EncoderSpec)  # The papers' are all timm's.
    least = max(spec.build(stages=setting.stages or spec.default_stages).strides)
    for side in sides:
        if side < least or side % spec.size_multiple:
            raise InputError(
                f"input size {side}: {name} takes sides of at least {least}, multiples of "
                f"{spec.size_multiple}; choose another or leave {name} out"
            )


def _rows(
    settings: dict[str, Setting], sides: Sequence[int], batch_sizes: Sequence[int], repeats: int
) -> Iterator[dict[str, Any]]:
    for name, setting in settings.items():
        encoder = load_encoder(name, stages=setting.stages, weights="random")
        pyramid = setting.pyramid(len(encoder.channels))
        for side in sides or setting.printed_at:
            detector = FlowDetector(encoder, pyramid, (setting.score,))
            bench = Workbench(detector, (side, side), repeats=repeats)
            for batch in batch_sizes:
                yield _row(name, setting, side, batch, bench)


def _row(name: str, setting: Setting, side: int, batch: int, bench: Workbench) -> dict[str, Any]:
    encoder, scoring = bench.encoder(batch), bench.scoring(batch)
    columns = {column for figures in setting.printed_at.values() for column in figures}
    at_side = setting.printed_at.get(side, {})
    return {
        "encoder": name,
        "input": side,
        "batch": batch,
        "compile s": scoring.compile_s,
        "encoder images/s": batch / encoder.median_s,
        "images/s": batch / scoring.median_s,
        "additional ms": 1e3 * (scoring.median_s - encoder.median_s),
        "additional M": bench.flow_parameters / 1e6,
        "encoder MB": bench.encoder_mb,
        "model MB": bench.encoder_mb + bench.flow_mb,
        "memory MB": scoring.memory_mb,
        **{column: at_side.get(column) for column in sorted(columns)},
        **setting.printed,
    }
