"""One row a variant: its likelihood, what it detects, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxflow.reports.compared import Finished
from jaxflow.reports.tables import MISSING, VALIDATION_NLL

# What a comparison knows of a variant besides its detections: key -> heading.
COSTS = {
    VALIDATION_NLL: "nats/dim",
    "parameters": "parameters",
    "constants": "constants",
    "train_seconds": "training s",
    "score_ms": "ms/image",
    "encoder_gflop": "encoder GFLOP",
    "detector_gflop": "detector GFLOP",
    "model_mb": "model MB",
    "memory_mb": "memory MB",
}
_DETECTION = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_aupro": "AUPRO"}
_COMPLEXITY = [key for key in COSTS if key != VALIDATION_NLL]
_MARK = "*"
_WHOLE = ("parameters", "constants")


class Point(NamedTuple):
    """A variant in the picture of likelihood against detection.

    Attributes:
      name: of the variant.
      nats: negative log-likelihood of held-out normal images, nats per dimension.
      image_auroc, pixel_auroc: None where it could not be computed.
    """

    name: str
    nats: float
    image_auroc: float | None
    pixel_auroc: float | None


def overview(
    summary: Sequence[Mapping[str, Any]], finished: Sequence[Finished]
) -> tuple[list[dict[str, object]], list[str]]:
    """Lay out a row for each variant, and one for each published row.

    Args:
      summary: lines of all scores, of `summarize`.
      finished: the cells.

    Returns:
      The rows, and what a reader must know of them, a sentence each.
    """
    columns = [VALIDATION_NLL, *_DETECTION, "parameters", "constants", "train_seconds", "score_ms"]
    shown = _shown(summary, finished)
    rows = []
    for line in shown:
        row: dict[str, object] = {"variant": line["variant"], "score": line["score"] or "published"}
        row |= {(COSTS | _DETECTION)[key]: _cell(line, key) for key in columns}
        rows.append(row)
    return rows, _notes(shown)


def complexity(
    summary: Sequence[Mapping[str, Any]], finished: Sequence[Finished]
) -> list[dict[str, object]]:
    """Lay out what each variant costs; none where nothing of it was measured."""
    lines = [line for line in _shown(summary, finished) if line["score_ms"] is not None]
    return [
        {"variant": line["variant"], **{COSTS[key]: _cell(line, key) for key in _COMPLEXITY}}
        for line in lines
    ]


def points(
    summary: Sequence[Mapping[str, Any]], finished: Sequence[Finished]
) -> dict[str, list[Point]]:
    """Return the variants whose likelihoods compare, two at least, by their features."""
    features, groups = _features(finished), dict[str, list[Point]]()
    for line in _shown(summary, finished):
        if line[VALIDATION_NLL] is not None and features[line["variant"]]:
            figures = (line[key] for key in (VALIDATION_NLL, "image_auroc", "pixel_auroc"))
            point = Point(line["variant"], *figures)
            groups.setdefault(features[line["variant"]], []).append(point)
    return {name: group for name, group in groups.items() if len(group) > 1}


def features_note(finished: Sequence[Finished]) -> list[str]:
    """Say which variants see which features, where they do not all see the same."""
    groups: dict[str, list[str]] = {}
    for variant, features in _features(finished).items():
        groups.setdefault(features or "not known", []).append(variant)
    if len(groups) < 2:
        return []
    told = "; ".join(f"{features}: {', '.join(names)}" for features, names in groups.items())
    return [f"likelihoods compare only between variants of the same features: {told}"]


def _shown(
    summary: Sequence[Mapping[str, Any]], finished: Sequence[Finished]
) -> list[Mapping[str, Any]]:
    """Return of each variant the line of its deciding score, and the published lines."""
    chosen = {cell.variant: (cell.shown.name, cell.shown.score) for cell in finished}
    return [
        line
        for line in summary
        if line["source"] or (line["selection"], line["score"]) == chosen[line["variant"]]
    ]


def _features(finished: Sequence[Finished]) -> dict[str, str]:
    names: dict[str, set[str]] = {}
    for cell in finished:
        names.setdefault(cell.variant, set()).add(cell.features)
    return {variant: "; ".join(sorted(each)) for variant, each in names.items()}


def _cell(line: Mapping[str, Any], key: str) -> str:
    value, std = line[key], line[f"{key}_std"]
    if key == VALIDATION_NLL and line["no_validation_nll"]:
        return _MARK
    if value is None:
        return MISSING
    if key in _WHOLE:
        return f"{value:,.0f}"
    if key in COSTS and key != VALIDATION_NLL:
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{value:.3f}" + ("" if std is None else f" ± {std:.3f}")


def _notes(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Explain the marks, and what the columns count."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line["no_validation_nll"]:
            reasons.setdefault(line["no_validation_nll"], []).append(line["variant"])
    told = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return [
        "nats/dim: negative log-likelihood of the encoder's features of held-out normal images, "
        "nats per dimension; lower is more likely",
        *([f"{_MARK} no likelihood that compares: {'; '.join(told)}"] if told else []),
        "parameters are trained, constants are kept besides, the encoder's not counted; training s "
        "is without compilation; ms/image is from images to scores, encoder included, median of "
        "five batches",
    ]
