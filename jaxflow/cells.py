"""The cells of a comparison: one run each."""

import ast
import copy
import dataclasses
import importlib.util
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

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
    settings: Mapping[str, Any],
    varied: Mapping[str, Sequence[Any]],
    categories: Sequence[str],
    seeds: Sequence[int],
) -> list[Cell]:
    """Multiply configs, choices, categories and seeds out.

    Args:
      configs: by name.
      settings: key -> value, for all.
      varied: key -> values, a variant each.
      categories: of the data set; none: the config's own.
      seeds: of the runs.

    Raises:
      InputError: if a config has no such key, or the value is of another type.
    """
    cells = []
    for name, config in configs.items():
        for values in itertools.product(*varied.values()):
            choices = dict(zip(varied, values, strict=True))
            variant = ", ".join([name, *(f"{_short(k)}={_text(v)}" for k, v in choices.items())])
            for category, seed in itertools.product(categories or [""], seeds):
                changed = copy.deepcopy(config)
                for key, value in {**settings, **choices, "seed": seed}.items():
                    _set(changed, key, value)
                if category:
                    changed.data.category = category
                cells.append(Cell(variant, changed.data.category, seed, changed))
    return cells


def parse_settings(texts: Sequence[str], several: bool = False) -> dict[str, Any]:
    """Parse KEY=VALUE lines; with `several`, KEY=VALUE,VALUE,... gives a list of values.

    Values are Python literals where they are, else strings.

    Raises:
      InputError: if a line has no "=".
    """
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text!r}: expected KEY=VALUE, such as training.epochs=4")
        settings[key] = _values(value) if several else _literal(value)
    return settings


def read_config(path: str) -> ml_collections.ConfigDict:
    """Run the user's own config file and return what its `get_config` gives.

    Raises:
      InputError: if there is no such file or it has no `get_config`.
    """
    if not Path(path).is_file():
        raise InputError(f"--configs: no file {path}; configs lie in configs/")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--configs: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"--configs: {path} has no function get_config")
    return module.get_config()


def _set(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    try:
        config.update_from_flattened_dict({key: value})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{key}={value!r}: {str(error).splitlines()[0]}") from error


def _values(text: str) -> list[Any]:
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError):
        return [_literal(part) for part in text.split(",")]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _text(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
