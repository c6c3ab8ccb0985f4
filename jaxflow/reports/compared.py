"""What a comparison compares, and what is printed beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxflow.reports.tables import ResultRow


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table as a paper prints it, as fractions.

    Attributes:
      mean: the printed mean by metric.
      categories: how many categories the mean is over.
      by_category: category -> metric -> figure, where they are printed; `<metric>_std` beside it
        where a deviation is.
    """

    mean: Mapping[str, float]
    categories: int
    by_category: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
      source: paper, table and section.
      rows: by the name of what is measured, in the paper's order.
    """

    source: str
    rows: Mapping[str, PublishedRow]


class Finished(NamedTuple):
    """A run of a comparison and its results.

    Attributes:
      variant: what is compared: a row of the table.
      category: of the data set.
      seed: of the run.
      rows: a row for each selection and score.
      score: the one that the run's decisions use, shown by category.
      random_weights: whether the encoder's weights were drawn, not learned.
      features: which features it sees, in words: likelihoods of others do not compare; "": not
        known.
    """

    variant: str
    category: str
    seed: int
    rows: list[ResultRow]
    score: str = "probability"
    random_weights: bool = False
    features: str = ""

    @property
    def shown(self) -> ResultRow:
        """The row of the deciding score, best by validation, or last where there is no best."""
        rows = [row for row in self.rows if row.score == self.score and not row.oracle]
        return next((row for row in rows if row.selection != "last"), rows[0])


def random_note(finished: Sequence[Finished]) -> list[str]:
    """Say which rows had an encoder of random weights."""
    names = sorted({cell.variant for cell in finished if cell.random_weights})
    reason = "the encoder's weights are RANDOM, the figures say nothing"
    return [f"{reason}: {', '.join(names)}"] if names else []


class Comparison(NamedTuple):
    """What stands around the figures of a comparison.

    Attributes:
      title: what is compared, or "".
      published: a paper's figures, to be put beside ours; None: there are none.
      notes: what a reader must know, a sentence each.
      failed: for each cell that failed its name and the reason.
    """

    title: str = ""
    published: PublishedTable | None = None
    notes: Sequence[str] = ()
    failed: Mapping[str, str] = {}
