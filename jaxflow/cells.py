"""The cells of a comparison: one run each."""

import copy
import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

import ml_collections

from jaxflow.config import override
from jaxflow.errors import InputError


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
      variant: the config's name and what was varied: a row of the table.
      category: of the data set, or "".
      seed: of the run.
      config: of the run, whole.
    """

    variant: str
    category: str
    seed: int
    config: ml_collections.ConfigDict

    @property
    def name(self) -> str:
        """Return the cell's folder, relative."""
        plain = re.sub(r"[^\w.=-]+", "_", self.variant)
        return f"{plain}/{self.category or 'all'}/seed{self.seed}"


def cells_of(
    configs: Mapping[str, ml_collections.ConfigDict],
    *,
    settings: Sequence[str] = (),
    varied: Sequence[str] = (),
    categories: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> list[Cell]:
    """Multiply configs, choices, categories and seeds out.

    Args:
      configs: by name.
      settings: "KEY=VALUE" each, for all.
      varied: "KEY=VALUE,VALUE,..." each: a variant for every value.
      categories: of the data set; none: the config's own.
      seeds: of the runs.

    Raises:
      InputError: if a config has no such key, or a value is of another type.
    """
    choices = [[(key, value) for value in values] for key, values in map(_choice, varied)]
    cells = []
    for (name, config), chosen in itertools.product(configs.items(), itertools.product(*choices)):
        variant = ", ".join([name, *(f"{key.rpartition('.')[2]}={value}" for key, value in chosen)])
        arguments = [*settings, *(f"{key}={value}" for key, value in chosen)]
        for category, seed in itertools.product(categories or [""], seeds):
            changed = copy.deepcopy(config)
            own = [f"data.category={category}"] if category else []
            override(changed, [f"--config.{a}" for a in (*arguments, *own, f"seed={seed}")])
            cells.append(Cell(variant, changed.data.category, seed, changed))
    return cells


def _choice(text: str) -> tuple[str, list[str]]:
    """Split "KEY=VALUE,VALUE" at the commas that stand outside parentheses."""
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise InputError(
            f"--vary={text}: expected KEY=VALUE,VALUE, such as model.coupling=affine,additive"
        )
    return key, re.findall(r"(?:\([^)]*\)|[^,(])+", values)
