"""Evaluate a trained run on its test images.

    python -m jaxflow.evaluate --workdir=runs/tiles

Writes into WORKDIR/evaluation: metrics.json, scores.csv (a row an image), pictures/ (input, mask,
heat map, predicted mask), curves/ (ROC, histograms of images and of pixels, and with --latents the
latents in two dimensions), and index.html, which shows them all. Every figure comes for
`last` and for `best by validation likelihood`, and with --oracle also for the marked oracle `best
on test`. Thresholds and colors come only from held-out normal images.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("evaluate")  # It imports this module again, and ends the process.

from pathlib import Path

from absl import flags

from jaxflow.data.disturb import TEST_SETS
from jaxflow.experiments import command_line
from jaxflow.experiments.command_line import say
from jaxflow.experiments.evaluate_run import evaluate_run
from jaxflow.experiments.run_folder import load_run
from jaxflow.reports.tables import format_table, result_table

SHOWN = (
    "image_auroc",
    "pixel_auroc",
    "pixel_aupro",
    "pixel_aupimo",
    "image_f1_max",
    "pixel_f1_max",
)


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    flags.DEFINE_bool(
        "oracle", False, "add best on test, marked; needs training.keep_all", flag_values=values
    )
    flags.DEFINE_integer(
        "pictures", 24, "number of images drawn", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool(
        "latents", False, "draw a flow's latents and features sampled from it", flag_values=values
    )
    flags.DEFINE_enum(
        "test_set",
        "original",
        sorted(TEST_SETS),
        "test images: as they are, or disturbed as in FastFlow's supplement",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "folder of the images, if it was moved", flag_values=values
    )
    command_line.define_decision(values)


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    command_line.required(values, "workdir")
    workdir = Path(values.workdir)
    config, _ = load_run(workdir)
    if values.data_dir:
        config.data.data_dir = values.data_dir
    if values.weights:
        config.encoder.weights = values.weights
    evaluated = evaluate_run(
        config,
        workdir,
        oracle=values.oracle,
        pictures=values.pictures,
        test_set=values.test_set,
        decision=command_line.decision(values),
        latents=values.latents,
    )
    say(format_table(result_table(evaluated.rows, SHOWN)))
    if evaluated.promise:
        say(evaluated.promise)
    folder = evaluated.folder
    say(f"pictures: {folder / 'overview.png'} and {folder / 'pictures'}")
    say(f"report: {folder / 'index.html'}")
    return 0
