r"""Generate a feature map: disturb a region of an image's latents and run the flow backwards.

    python -m jaxflow.generate --workdir=runs/leather --input=leather.png \
        --output=generated.png --region=0.4,0.4,0.2,0.2 --noise=2

The picture shows the input, one channel of its (normalized) feature map, the probability of the
latents exp(-mean z^2 / 2), the same with noise in the region, and the channel that the inverse of
the flow makes of it: a new anomaly where the noise was. Reference: arXiv 2111.07677, section 4.5
and Figure 4.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("generate")  # It imports this module again, and ends the process.

from pathlib import Path

import jax
import numpy as np
from absl import flags

from jaxflow.data.image import decode_image, resize_image
from jaxflow.detectors.generation import changed_most, check_numbers, generate
from jaxflow.errors import InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.command_line import say
from jaxflow.experiments.inputs import parse_region
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import make_folder
from jaxflow.files import check_outputs, check_writable
from jaxflow.reports.generation_picture import generation_figure, picture_of
from jaxflow.reports.pictures import save_figure

_MOST_NOISE = 1e6


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    command_line.define_selection(values)
    flags.DEFINE_string("input", None, "image file to start from", flag_values=values)
    flags.DEFINE_string("output", None, "png file to write", flag_values=values)
    flags.DEFINE_list(
        "region",
        ["0.4", "0.4", "0.2", "0.2"],
        "top, left, height, width of the noise, in fractions of the image",
        flag_values=values,
    )
    flags.DEFINE_float(
        "noise", 2.0, "standard deviation of the noise; that of latents is 1", flag_values=values
    )
    flags.DEFINE_integer(
        "channel", None, "channel shown; default: the one that changes most", flag_values=values
    )
    flags.DEFINE_integer(
        "map", 1, "which feature map, 1 is the finest", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "seed of the noise", lower_bound=0, upper_bound=2**32 - 1, flag_values=values
    )


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    command_line.required(values, "workdir", "input", "output")
    region, output = parse_region(values.region), Path(values.output)
    if not 0 < values.noise <= _MOST_NOISE:
        raise InputError(
            f"--noise: expected a positive number, at most {_MOST_NOISE:g}, got {values.noise}"
        )
    if output.is_dir():
        raise InputError(f"--output {output} is a folder; give the name of a png file")
    if output.suffix.lower() != ".png":
        raise InputError(f"--output {output}: the picture is a png file; give a name in .png")
    image = decode_image(Path(values.input))
    check_writable("output", output.parent)
    check_outputs("output", [output], [Path(values.input)])
    model = load(values.workdir, weights=values.weights)
    image = resize_image(image, model.size)
    variables = model.selections[model.named(values.selection)].variables
    detector = check_numbers(model.detector, values.map, values.channel)
    found = generate(
        detector,
        variables,
        image,
        number=values.map - 1,
        region=region,
        noise=values.noise,
        key=jax.random.key(values.seed),
    )
    if not np.isfinite(found.after).all():
        raise InputError(
            f"--noise {values.noise}: the inverse left the range of numbers; give less noise"
        )
    channel = changed_most(found) if values.channel is None else values.channel
    make_folder("output", output.parent)
    title = f"{Path(values.input).name}: map {values.map}, noise {values.noise:g} in the latents"
    save_figure(output, generation_figure(picture_of(image, found, region, channel, title)))
    error = np.abs(found.restored - found.before).max() / np.abs(found.before).max()
    say(f"channel {channel}; without noise the inverse errs by {error:.1e} relative: {output}")
    return 0
