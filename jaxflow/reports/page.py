"""One page that shows a run: metrics, protocol, curves and pictures, with nothing from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import LEVEL
from jaxflow.files import write_atomically
from jaxflow.reports.tables import MISSING, ResultRow, format_value

MAIN_METRICS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupro": "pixel AUPRO",
    "pixel_aupimo": "pixel AUPIMO",
    "image_f1_max": "image F1 max",
    "pixel_f1_max": "pixel F1 max",
    "image_average_precision": "image AP",
    "pixel_average_precision": "pixel AP",
}
DECISION_METRICS = {
    "image_threshold": "image threshold",
    "image_fpr_at_threshold": "false-alarm rate",
    "image_tpr_at_threshold": "detection rate",
    "pixel_threshold": "pixel threshold",
    "pixel_fpr_at_threshold": "pixel false-alarm rate",
    "pixel_tpr_at_threshold": "pixel detection rate",
}
P_VALUE_METRICS = {
    f"image_fpr_at_p_{LEVEL}": f"of the images, p ≤ {LEVEL}",
    f"pixel_fpr_at_p_{LEVEL}": f"of the pixels, p ≤ {LEVEL}",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #5c6670; --line: #d9dee3;
  --paper: #fff; --soft: #f5f7f9; --bad: #8e1f6f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #9aa4ae; --line: #343b43;
  --paper: #14171a; --soft: #1d2126; --bad: #f08bd0; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; } .quiet, caption, figcaption { color: var(--quiet); font-size: .87rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; }
th, td { padding: .32rem .8rem .32rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; } thead th { color: var(--quiet); font-weight: 500; white-space: nowrap; }
.number { text-align: right; } tr.oracle td, tr.oracle th { color: var(--quiet);
  font-style: italic; font-weight: 400; }
.protocol th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
.protocol td { overflow-wrap: anywhere; }
figure { margin: 0; } img { max-width: 100%; height: auto; display: block; background: #fff;
  border-radius: 6px; border: 1px solid var(--line); box-sizing: border-box; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-end; }
.curves figure { flex: 0 1 auto; max-width: 34rem; }
.curves figure.wide { flex-basis: 100%; max-width: 56rem; }
.pictures { display: grid; gap: 1.1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); }
.mark { color: var(--bad); font-weight: 600; }
"""


@dataclass(frozen=True)
class Picture:
    """A png of the page.

    Attributes:
      path: relative to the page's folder, with forward slashes.
      caption: one line below it; it also stands for the picture where that cannot be seen.
      mistake: what was judged wrongly, such as "missed", or "": each kind of mistake has its
        own gallery, before the other pictures.
      severity: the larger, the earlier among its kind, such as the distance from the threshold.
      wide: whether a curve has a whole row.
    """

    path: str
    caption: str
    mistake: str = ""
    severity: float = 0.0
    wide: bool = False


def write_report(
    directory: str | Path,
    *,
    title: str,
    protocol: Mapping[str, object],
    rows: Sequence[ResultRow],
    pictures: Sequence[Picture] = (),
    curves: Sequence[Picture] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write index.html: results, decisions, what was skipped, protocol, curves and pictures.

    The page needs nothing but the png files in its folder, and follows the reader's light or dark
    setting. Each kind of mistake has a gallery, the worst first; then come the other pictures.

    Args:
      directory: where the page goes; the pictures lie in it already.
      title: of the page.
      protocol: what the figures depend on, by name: data set, split, seed, encoder tag, budget.
      rows: the results, in the order shown.
      pictures: of single images.
      curves: ROC curves and histograms, in the order shown.
      notes: sentences below the title, such as a warning that the weights are random.

    Returns:
      The path of index.html.

    Raises:
      InputError: if the folder or a picture does not exist, or a picture lies outside the folder.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError(f"report: folder {folder} does not exist; make it first")
    sections = [
        _section("Results", _results(rows, MAIN_METRICS, "Higher is better; 1 is perfect.")),
        _section("By kind of defect", _by_defect(rows)),
        _section("Decisions", _decisions(rows)),
        _section("False alarms by p-value", _p_values(rows)),
        _section("Not computed", _skipped(rows)),
        _section("Protocol", _protocol(protocol)),
        _section("Curves", _figures(folder, curves, "curves")),
        *_galleries(folder, pictures),
    ]
    remarks = "".join(f"<p>{escape(note)}</p>" for note in notes)
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{remarks}\n{''.join(sections)}</body>\n</html>\n"
    )
    return write_atomically(folder / "index.html", page)


def _section(heading: str, content: str) -> str:
    """Return a headed section, or nothing if it has no content."""
    return f"<h2>{escape(heading)}</h2>\n{content}\n" if content else ""


def _results(rows: Sequence[ResultRow], names: Mapping[str, str], caption: str) -> str:
    """Return the table of those metrics that at least one row has."""
    shown = [name for name in names if any(name in row.metrics for row in rows)]
    if not shown:
        return ""
    head = "".join(f'<th class="number" scope="col">{escape(names[name])}</th>' for name in shown)
    lines = []
    for row in rows:
        cells = "".join(
            f'<td class="number">{escape(format_value(row.metrics.get(name), name))}</td>'
            for name in shown
        )
        kind = ' class="oracle"' if row.oracle else ""
        first = f'<th scope="row">{escape(row.name)}</th><td>{escape(row.score)}</td>'
        lines.append(f"<tr{kind}>{first}{cells}</tr>\n")
    if any(row.oracle for row in rows):
        caption += (
            " An oracle row was chosen on the test set: it bounds what a choice of the stopping "
            "time could reach and is no result."
        )
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">parameters</th>'
        f'<th scope="col">score</th>{head}</tr></thead>\n<tbody>\n{"".join(lines)}</tbody>\n'
        f"<caption>{escape(caption)}</caption></table></div>"
    )


def _by_defect(rows: Sequence[ResultRow]) -> str:
    """Return the table of the metrics of each kind of defect: a row for each score and kind."""
    kinds = sorted({name.partition("/")[2] for row in rows for name in row.metrics if "/" in name})
    apart = [
        replace(
            row,
            score=f"{row.score}, {kind}",
            metrics={
                name.partition("/")[0]: value
                for name, value in row.metrics.items()
                if name.partition("/")[2] == kind
            },
        )
        for row in rows
        for kind in kinds
    ]
    return _results(apart, MAIN_METRICS, "Each kind alone against all normal images.")


def _decisions(rows: Sequence[ResultRow]) -> str:
    """Return the table of error rates at the thresholds from validation scores."""
    return _results(
        [row for row in rows if not row.oracle],
        DECISION_METRICS,
        "A score at or above the threshold is called anomalous. The thresholds come only from "
        "normal validation images; the rates are measured on the test set.",
    )


def _p_values(rows: Sequence[ResultRow]) -> str:
    """Return the table of the shares of normal images and pixels that have a small p-value."""
    return _results(
        [row for row in rows if not row.oracle],
        P_VALUE_METRICS,
        f"Shares of the normal test images and of their pixels; at most {LEVEL} is expected. From "
        f"fewer than {round(1 / LEVEL) - 1} held-out images no image has so small a p-value.",
    )


def _skipped(rows: Sequence[ResultRow]) -> str:
    """Return the list of reasons with the metrics that each kept from being computed."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for name, reason in row.skipped.items():
            if name not in reasons.setdefault(reason, []):
                reasons[reason].append(name)
    lines = [
        f"<li>{escape(reason)}: {escape(', '.join(names))}</li>"
        for reason, names in reasons.items()
    ]
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _figures(folder: Path, pictures: Sequence[Picture], kind: str) -> str:
    """Return the pictures with their captions; each must lie in the page's folder."""
    lines = []
    for picture in pictures:
        place = PurePosixPath(picture.path)
        if place.is_absolute() or ".." in place.parts or not (folder / place).is_file():
            raise InputError(
                f"report: picture {picture.path} is not a file in {folder}; write it there first"
            )
        mark = f'<span class="mark">{escape(picture.mistake)}:</span> ' if picture.mistake else ""
        caption, shape = escape(picture.caption), ' class="wide"' if picture.wide else ""
        source = escape(quote(picture.path))
        lines.append(
            f'<figure{shape}><img src="{source}" alt="{caption}" loading="lazy">'
            f"<figcaption>{mark}{caption}</figcaption></figure>\n"
        )
    return f'<div class="{kind}">\n{"".join(lines)}</div>' if lines else ""


def _galleries(folder: Path, pictures: Sequence[Picture]) -> list[str]:
    """Return a section for each kind of mistake, and one for all other pictures."""
    mistakes = sorted({picture.mistake for picture in pictures} - {""}, reverse=True)
    sections = []
    for mistake in [*mistakes, ""]:
        kind = [picture for picture in pictures if picture.mistake == mistake]
        worst_first = sorted(kind, key=lambda picture: -picture.severity)
        heading = mistake.capitalize() or "Pictures"
        sections.append(_section(heading, _figures(folder, worst_first, "pictures")))
    return sections


def _protocol(protocol: Mapping[str, object]) -> str:
    """Return the table of what the figures depend on."""
    lines = [
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_words(value))}</td></tr>\n'
        for name, value in protocol.items()
    ]
    return f'<table class="protocol"><tbody>\n{"".join(lines)}</tbody></table>' if lines else ""


def _words(value: object) -> str:
    """Return a value of the protocol in words: None is a dash, floats keep their digits."""
    return MISSING if value is None else str(value)
