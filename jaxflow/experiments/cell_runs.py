"""Run the cells of a comparison, each once, and read those that are finished."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache
from tqdm import tqdm

from jaxflow.errors import InputError, RunStopped
from jaxflow.experiments.benchmarking import scoring_costs
from jaxflow.experiments.build import load_encoder_or_random, make_dataset, run_facts
from jaxflow.experiments.cells import Cell, changed_keys
from jaxflow.experiments.command_line import warn
from jaxflow.experiments.describe import features_of
from jaxflow.experiments.detector import deciding_score
from jaxflow.experiments.evaluate_run import evaluate_run
from jaxflow.experiments.plugins import check_plugins
from jaxflow.experiments.run_folder import check_facts, load_run
from jaxflow.experiments.train_run import train_run
from jaxflow.files import explain, read_sealed_json, write_sealed_json
from jaxflow.reports.compared import Finished
from jaxflow.reports.tables import ResultRow, apart

# Cache programs that take longer than this to compile, in seconds (JAX's default is 1).
_WORTH_KEEPING_S = 0.2
_COMPILED = ".compiled."


@contextlib.contextmanager
def compiled_once(workdir: Path) -> Iterator[None]:
    """Keep what is compiled for the cells to come, in a folder that is gone at the end.

    Cells of other seeds and categories need the same programs. Nothing is changed where the user
    has JAX keep them already. What a killed comparison left is removed.
    """
    for left in workdir.glob(f"{_COMPILED}*"):
        shutil.rmtree(left, ignore_errors=True)
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {key: getattr(jax.config, key) for key in keys}
    if before[keys[0]]:
        yield
        return
    with tempfile.TemporaryDirectory(prefix=_COMPILED, dir=workdir) as folder:
        # On a full disk programs are only compiled again.
        warnings.filterwarnings("ignore", "Error (writing|reading) persistent compilation cache")
        try:
            _set_cache(dict(zip(keys, (folder, _WORTH_KEEPING_S), strict=True)))
            yield
        finally:
            _set_cache(before)


def _set_cache(settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        jax.config.update(key, value)
    compilation_cache.reset_cache()  # JAX looks at the settings only once.


def run_all(
    cells: Sequence[Cell], folder: Path, oracle: bool
) -> tuple[list[Finished], dict[str, str]]:
    """Run the cells; return the finished ones, and for each failed one's name the reason."""
    finished: list[Finished] = []
    failed: dict[str, str] = {}
    for cell in tqdm(cells, unit="cell", desc="comparison", disable=None):
        try:
            finished.append(_run(cell, folder, oracle))
        except RunStopped as error:
            if error.exit_code > 128:  # A signal.
                raise
            failed[cell.name] = _report(cell, error)
        except (InputError, RuntimeError, MemoryError, OSError) as error:
            failed[cell.name] = _report(cell, error)
        jax.clear_caches()
    return finished, failed


def _report(cell: Cell, error: Exception) -> str:
    text = explain(error) if isinstance(error, OSError) else str(error)
    reason = " ".join(text.split())[:300]
    warn(f"cell {cell.name} failed: {reason}")
    return reason


def _run(cell: Cell, folder: Path, oracle: bool) -> Finished:
    """Train and evaluate a cell, or read what it gave before."""
    workdir = folder / cell.name
    done = workdir / ("cell_oracle.json" if oracle else "cell.json")
    if done.exists():
        content = _read_cell(cell, workdir, done)
    else:
        cell.config.training.keep_all = oracle
        train_run(cell.config, workdir)
        evaluated = evaluate_run(cell.config, workdir, oracle=oracle, pictures=6)
        content = {
            "rows": [dataclasses.asdict(row) for row in evaluated.rows],
            "costs": scoring_costs(cell.config, evaluated.model),
            "features": features_of(cell.config, evaluated.model),
            "config": json.loads(cell.config.to_json()),
            "facts": load_run(workdir)[1],
        }
        write_sealed_json(done, content)
    # Cells of earlier states lack costs and features: they stay unknown.
    costs = content.get("costs", {})
    rows = [each for row in content["rows"] for each in apart(ResultRow(**row))]
    rows = [dataclasses.replace(row, metrics={**row.metrics, **costs}) for row in rows]
    random = content["config"]["encoder"]["weights"] == "random"
    score = deciding_score(cell.config)
    features = content.get("features", "")
    return Finished(cell.variant, cell.category, cell.seed, rows, score, random, features)


def _read_cell(cell: Cell, workdir: Path, done: Path) -> dict[str, Any]:
    """Read what a finished cell gave, if its config, its weights and its data are those of now.

    Raises:
      InputError: if they are not, or the file is damaged.
    """
    try:
        content = read_sealed_json(done)
    except InputError as error:
        raise InputError(f"{error}; delete it, and what was trained is evaluated again") from error
    if changed := changed_keys(cell.config, content["config"]):
        raise InputError(
            f"{workdir} was run with another {', '.join(changed[:5])}; use another --workdir"
        )
    check_plugins(workdir, content["facts"]["plugins"])
    encoder = load_encoder_or_random(cell.config)
    check_facts(workdir, content["facts"], run_facts(encoder, make_dataset(cell.config)))
    return content
