"""Result rows as tables and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jaxflow.errors import InputError
from jaxflow.files import write_atomically

MISSING = "–"


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
    for name, values in scores.items():
        columns[f"anomaly_score_{name}"] = [float(value) for value in np.asarray(values)]
    for name, values in (decisions or {}).items():
        words = np.where(np.asarray(values, dtype=bool), "anomalous", "normal")
        columns[f"decision_{name}"] = [str(word) for word in words]
    for column, cells in columns.items():
        if len(cells) != len(names):
            raise InputError(
                f"{column}: {len(cells)} values for {len(names)} images; give one each"
            )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return write_atomically(path, text.getvalue())


def _is_numeric(values: Sequence[object]) -> bool:
    """Tell whether a column holds numbers alone, None aside."""
    present = [value for value in values if value is not None]
    kinds = (int, float, np.number)
    return (
        all(isinstance(v, kinds) and not isinstance(v, bool) for v in present) if present else True
    )
