"""The figures of one configuration: encoder, training steps, scoring."""

from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from jaxflow.experiments.benchmarking.workbench import Workbench
from jaxflow.experiments.build import check_batches, describe_groups, make_recipe
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.detector import deciding_score, make_detector, make_encoder
from jaxflow.training import Recipe


def config_rows(
    config: ml_collections.ConfigDict, batch_sizes: Sequence[int], repeats: int
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Measure the detector of a configuration.

    The hub's weights are replaced by random ones: speed does not depend on them.

    Args:
      config: of a run.
      batch_sizes: images of a call.
      repeats: timed calls.

    Returns:
      The facts, and the rows of the table as they are measured.

    Raises:
      InputError: for a mistake in the config.
    """
    check_config(config)
    if config.encoder.weights == "hub":
        config.encoder.weights = "random"
    encoder = make_encoder(config)
    check_batches(config, encoder)
    score, recipe = deciding_score(config), make_recipe(config, None)
    detector = make_detector(config, encoder, [score])
    facts = {
        "encoder": config.encoder.name,
        "encoder_weights": config.encoder.weights,
        "input_size": list(recipe.size),
        "flow": f"{detector.describe()}; {describe_groups(recipe.vectors)}",
    }
    bench = Workbench(detector, recipe.size, repeats=repeats, seed=config.seed)
    return facts, _measured(bench, recipe, batch_sizes, score)


def _measured(
    bench: Workbench, recipe: Recipe, batch_sizes: Sequence[int], score: str
) -> Iterator[dict[str, Any]]:
    for batch in batch_sizes:
        yield bench.encoder(batch).row("encoder alone", batch)
    batch = recipe.batch_size
    steps = {"kept features": False, "images": True} if bench.trained else {}
    for name, on_images in steps.items():
        timing = bench.training(batch, recipe, on_images=on_images)
        yield timing.row(f"training step on {name}", batch)
    for batch in batch_sizes:
        yield bench.scoring(batch).row(f"scoring ({score})", batch)
