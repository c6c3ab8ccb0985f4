r"""Train a detector on normal images.

    python -m jaxflow.train --config=configs/fastflow_resnet18.py \
        --workdir=runs/tiles --config.data.name=magnetic_tile \
        --config.data.data_dir=PATH

The workdir keeps run.json (what the run is made of), checkpoints/ and best/ (the latest and the
best by validation likelihood), metrics.jsonl, and model/ (variables, and thresholds from held-out
normal images). Stopped at any moment, the same command goes on exactly where it was.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("train")  # It imports this module again, and ends the process.

from pathlib import Path

from absl import flags

from jaxflow.experiments import command_line
from jaxflow.experiments.checks import check_config, check_effects
from jaxflow.experiments.train_run import train_run


def _define(values: flags.FlagValues) -> None:
    command_line.define_config(values)
    flags.DEFINE_string("workdir", None, "folder of the run, made if missing", flag_values=values)


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    command_line.required(values, "config", "workdir")
    check_config(values.config)
    check_effects(values.config)
    train_run(values.config, Path(values.workdir))
    return 0
