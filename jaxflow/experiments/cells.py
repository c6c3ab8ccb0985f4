"""The cells of a comparison: one run each."""

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from jaxflow.errors import InputError
from jaxflow.experiments.config import override

# Keys that do not change the result: paths, and which checkpoints stay.
_PLACES = {"data.data_dir", "data.cache_dir", "training.keep_all"}
# Nor does this one, unless it says "random".
_WEIGHTS = "encoder.weights"


@dataclass(frozen=True)
class Variant:
    """What is compared.

    Attributes:
      name: of the row.
      config: of its runs, except category and seed.
      category_settings: category -> "KEY=VALUE" each, which give way to the user's.
    """

    name: str
    config: ml_collections.ConfigDict
    category_settings: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
      variant: the variant's name and what was varied: a row of the table.
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
    variants: Sequence[Variant],
    *,
    settings: Sequence[str] = (),
    varied: Sequence[str] = (),
    categories: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> list[Cell]:
    """Multiply variants, choices, categories and seeds out.

    Args:
      variants: what is compared.
      settings: "KEY=VALUE" each, for all.
      varied: "KEY=VALUE,VALUE,..." each: a variant for every value.
      categories: of the data set; none: the config's own.
      seeds: of the runs.

    Raises:
      InputError: if a config has no such key, a value is of another type, or two cells would
        share a folder.
    """
    choices = [[(key, value) for value in values] for key, values in map(_choice, varied)]
    cells = []
    for variant, chosen in itertools.product(variants, itertools.product(*choices)):
        name = ", ".join(
            [variant.name, *(f"{key.rpartition('.')[2]}={value}" for key, value in chosen)]
        )
        arguments = [*settings, *(f"{key}={value}" for key, value in chosen)]
        for category, seed in itertools.product(categories or [""], seeds):
            changed = copy.deepcopy(variant.config)
            apply(changed, variant.category_settings.get(category, ()))
            own = [f"data.category={category}"] if category else []
            apply(changed, [*arguments, *own, f"seed={seed}"])
            cells.append(Cell(name, changed.data.category, seed, changed))
    _check_folders(cells)
    return cells


def apply(config: ml_collections.ConfigDict, settings: Sequence[str]) -> None:
    """Set keys of a config in place, "KEY=VALUE" each.

    Raises:
      InputError: see `jaxflow.experiments.config.override`.
    """
    override(config, [f"--config.{setting}" for setting in settings])


def changed_keys(config: ml_collections.ConfigDict, stored: Mapping[str, Any]) -> list[str]:
    """List the keys in which a finished cell's config is another than what is asked for now.

    Args:
      config: asked for.
      stored: what the cell was run with, as JSON gives it; a key that it lacks did not exist then.
    """
    old, new = dict(_flat(stored)), dict(_flat(config.to_dict()))
    drawn = "random" in (old.get(_WEIGHTS), new[_WEIGHTS])
    places = _PLACES if drawn and not config.encoder.random_if_unreachable else {*_PLACES, _WEIGHTS}
    return [key for key in sorted(old.keys() & new.keys() - places) if old[key] != new[key]]


def _check_folders(cells: Sequence[Cell]) -> None:
    """Check that no two cells have the same folder, where one would pass for the other."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.name in seen:
            raise InputError(
                f"{cell.variant!r} and {seen[cell.name].variant!r}, category "
                f"{cell.category or 'all'}, seed {cell.seed}, would share the folder {cell.name}; "
                "give each once, under names that differ in letters or digits"
            )
        seen[cell.name] = cell


def _flat(tree: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """List (dotted key, value); tuples become lists, as in JSON."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{place}{key}.")
        else:
            pairs.append((f"{place}{key}", list(value) if isinstance(value, tuple) else value))
    return pairs


def _choice(text: str) -> tuple[str, list[str]]:
    """Split "KEY=VALUE,VALUE" at the commas that stand outside parentheses."""
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise InputError(
            f"--vary={text}: expected KEY=VALUE,VALUE, such as model.coupling=affine,additive"
        )
    return key, re.findall(r"(?:\([^)]*\)|[^,(])+", values)
