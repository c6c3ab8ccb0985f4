"""Result rows as tables and CSV."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxflow.errors import InputError
from jaxflow.files import write_atomically

MISSING = "–"
# The selection of a row that stands for two, whose parameters are the same.
SAME = "last = best by validation likelihood"
# Metric: negative log-likelihood of held-out normal images, nats per dimension.
VALIDATION_NLL = "validation_nll"


@dataclass(frozen=True)
class ResultRow:
    """The metrics of one choice of parameters and one score.

    Attributes:
      selection: which parameters: "last", "best by validation likelihood", "best on test".
      score: "probability" or "nll".
      metrics: values by name; what could not be computed is absent.
      skipped: for each absent metric the reason.
      oracle: whether the selection has seen the test set, so that the row bounds what a selection
        could reach and is no result.
    """

    selection: str
    score: str
    metrics: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    oracle: bool = False

    @property
    def name(self) -> str:
        """The selection, marked if it is an oracle."""
        return f"{self.selection} (oracle)" if self.oracle else self.selection


def apart(row: ResultRow) -> list[ResultRow]:
    """Return a row, or the two of `last` and `best` that it stands for."""
    if row.selection != SAME:
        return [row]
    return [dataclasses.replace(row, selection=name) for name in SAME.split(" = ")]


def result_table(
    rows: Sequence[ResultRow], metrics: Sequence[str] | None = None
) -> list[dict[str, object]]:
    """Lay result rows out for `format_table`: selection, score, then a column for each metric.

    Args:
      rows: the results.
      metrics: the metrics to show; None: all that any row has, in the order met.

    Returns:
      One dict for each row; a metric that a row lacks is None.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.metrics))
    shown = columns if metrics is None else list(metrics)
    return [
        {
            "selection": row.name,
            "score": row.score,
            **{name: row.metrics.get(name) for name in shown},
        }
        for row in rows
    ]


def format_table(rows: Sequence[Mapping[str, object]], markdown: bool = False) -> str:
    """Format rows as an aligned table for a terminal, or as a Markdown table.

    Args:
      rows: cells by column name; columns come in the order they are first met.
      markdown: whether to draw Markdown's bars.

    Returns:
      The lines, without a newline at the end. Numbers are right-aligned; None shows as a dash.

    Example:
      >>> print(format_table([{"score": "nll", "image_auroc": 0.91234}]))
      score  image_auroc
      nll          0.912
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[format_value(row.get(name), name) for name in columns] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    right = [_is_numeric([row.get(name) for row in rows]) for name in columns]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(texts, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    lines = [line(columns)]
    if markdown:
        rules = [
            "-" * (width + 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)
        ]
        lines.append(f"|{'|'.join(rules)}|")
        cells = [[text.replace("|", "\\|") for text in texts] for texts in cells]
    return "\n".join(lines + [line(texts) for texts in cells])


def format_value(value: object, name: str = "") -> str:
    """Format a cell: three decimals for a rate, four significant digits for a threshold."""
    if value is None:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return (
            f"{value:.4g}" if name.endswith("threshold") and "_at_" not in name else f"{value:.3f}"
        )
    return str(value)


class ScoresFile:
    """A CSV of scores that grows: what is written stays, whatever comes after.

    Args:
      path: the file to write; its folder must exist.
      scores: names of the scores, in columns `anomaly_score_<name>`.
      decisions: names of the scores that decide, in columns `decision_<name>`.
    """

    def __init__(self, path: Path, scores: Sequence[str], decisions: Sequence[str] = ()):
        self._path = path
        self._file: Any = None
        self._header = ["name", *_score_columns(scores), *_decision_columns(decisions)]

    def __enter__(self) -> "ScoresFile":
        write_atomically(self._path, _csv([self._header]))
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(
        self,
        names: Sequence[str],
        scores: Sequence[ArrayLike],
        decisions: Sequence[ArrayLike] = (),
    ) -> None:
        """Write a row for each image.

        Args:
          names: the images' names [b].
          scores: floating [b] for each score.
          decisions: bool [b] for each score that decides.

        Raises:
          OSError: if they cannot be written; the rows before stay whole.
        """
        columns = [list(names), *map(_numbers, scores), *map(_words, decisions)]
        self._write(zip(*columns, strict=True))

    def _write(self, rows: Iterable[Sequence[object]]) -> None:
        content, start = _csv(rows).encode("utf-8", "backslashreplace"), self._file.tell()
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            self._file.truncate(start)
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def write_scores_csv(
    path: str | Path,
    names: Sequence[str],
    labels: ArrayLike | None,
    defects: Sequence[str] | None,
    scores: Mapping[str, ArrayLike],
    decisions: Mapping[str, ArrayLike] | None = None,
) -> Path:
    """Write one row for each image: name, label, defect, the scores and the decisions.

    Args:
      path: the file to write; its folder must exist.
      names: the images' names [b].
      labels: 0/1 [b], or None where they are not known.
      defects: the kinds of defect [b], or None.
      scores: floating [b] by score name, written exactly, in columns `anomaly_score_<name>`.
      decisions: bool [b] by score name, in columns `decision_<name>`: anomalous or normal.

    Returns:
      The path.

    Raises:
      InputError: if a column is not as long as names.
    """
    columns: dict[str, list[object]] = {"name": list(names)}
    if labels is not None:
        columns["label"] = [int(label) for label in np.asarray(labels)]
    if defects is not None:
        columns["defect"] = list(defects)
    columns |= dict(zip(_score_columns(scores), map(_numbers, scores.values()), strict=True))
    decided = decisions or {}
    columns |= dict(zip(_decision_columns(decided), map(_words, decided.values()), strict=True))
    for column, cells in columns.items():
        if len(cells) != len(names):
            raise InputError(
                f"{column}: {len(cells)} values for {len(names)} images; give one each"
            )
    return write_atomically(path, _csv([list(columns), *zip(*columns.values(), strict=True)]))


def _score_columns(names: Iterable[str]) -> list[str]:
    return [f"anomaly_score_{name}" for name in names]


def _decision_columns(names: Iterable[str]) -> list[str]:
    return [f"decision_{name}" for name in names]


def _numbers(values: ArrayLike) -> list[object]:
    return [float(value) for value in np.asarray(values)]


def _words(values: ArrayLike) -> list[object]:
    return [str(word) for word in np.where(np.asarray(values, bool), "anomalous", "normal")]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _is_numeric(values: Sequence[object]) -> bool:
    """Tell whether a column holds only numbers and None."""
    present = [value for value in values if value is not None]
    kinds = (int, float, np.number)
    return (
        all(isinstance(v, kinds) and not isinstance(v, bool) for v in present) if present else True
    )
