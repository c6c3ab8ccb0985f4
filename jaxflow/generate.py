r"""Generate a feature map: disturb a region of an image's latents and run the flow backwards.

    python -m jaxflow.generate --workdir=runs/leather --input=leather.png \
        --output=generated.png --region=0.4,0.4,0.2,0.2 --noise=2

The picture shows the input, one channel of its (normalized) feature map, the probability of the
latents exp(-mean z^2 / 2), the same with noise in the region, and the channel that the inverse of
the flow makes of it: a new anomaly where the noise was. Reference: arXiv 2111.07677, section 4.5
and Figure 4.
"""

if __name__ == "__main__":
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from jaxflow.data.image import decode_image, resize_image
from jaxflow.detectors import Detector, FlowDetector
from jaxflow.errors import InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.command_line import say
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import make_folder
from jaxflow.files import check_outputs, check_writable
from jaxflow.reports.generation_picture import GenerationPicture, Region, generation_figure
from jaxflow.reports.pictures import save_figure

_MOST_NOISE = 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


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


class Generated(NamedTuple):
    """A feature map, its latents, and what noise makes of both.

    Attributes:
      before: f32[h, w, c], the normalized feature map.
      latents: f32[h, w, c].
      noised: f32[h, w, c], the latents with noise in the region.
      after: f32[h, w, c], what the inverse makes of the noised latents.
      restored: f32[h, w, c], what it makes of the latents as they were.
    """

    before: np.ndarray
    latents: np.ndarray
    noised: np.ndarray
    after: np.ndarray
    restored: np.ndarray


def _main(values: flags.FlagValues) -> int:
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
    detector = _with_latents(model.detector)
    _check_numbers(values, detector)
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
    picture = _picture(values, image, found, region, channel)
    save_figure(output, generation_figure(picture))
    error = np.abs(found.restored - found.before).max() / np.abs(found.before).max()
    say(f"channel {channel}; without noise the inverse errs by {error:.1e} relative: {output}")
    return 0


def _with_latents(detector: Detector) -> FlowDetector:
    if not isinstance(detector, FlowDetector):
        raise InputError(f"{detector.describe()}: has no latents to disturb; train a flow")
    return detector


def _check_numbers(values: flags.FlagValues, detector: FlowDetector) -> None:
    """Check that the map and the channel exist."""
    channels = detector.encoder.channels
    if values.map > len(channels):
        raise InputError(f"--map {values.map}: expected 1 to {len(channels)}")
    count = channels[values.map - 1]
    if values.channel is not None and not 0 <= values.channel < count:
        raise InputError(
            f"--channel {values.channel}: map {values.map} has channels 0 to {count - 1}"
        )


def parse_region(texts: Sequence[str]) -> Region:
    """Read a region from "top", "left", "height", "width".

    Raises:
      InputError: unless they are four fractions that stay inside the image.
    """
    try:
        region = Region(*map(float, texts))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--region={','.join(texts)}: expected top,left,height,width as fractions, such as "
            "0.4,0.4,0.2,0.2"
        ) from error
    inside = region.top + region.height <= 1 and region.left + region.width <= 1
    if not (min(region) >= 0 and min(region.height, region.width) > 0 and inside):
        raise InputError(
            f"--region={','.join(texts)}: top + height and left + width must lie in (0, 1]"
        )
    return region


def region_mask(region: Region, size: tuple[int, int]) -> np.ndarray:
    """Mark the positions bool[h, w] of a map whose centers lie in a region, at least one."""
    rows, columns = (
        (np.abs(_centers(count) - start - length / 2) <= length / 2)
        | (np.arange(count) == min(int((start + length / 2) * count), count - 1))
        for count, start, length in zip(
            size, (region.top, region.left), (region.height, region.width), strict=True
        )
    )
    return rows[:, None] & columns


def _centers(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def generate(
    detector: FlowDetector,
    variables: dict[str, Any],
    image: np.ndarray,
    *,
    number: int,
    region: Region,
    noise: float,
    key: jax.Array,
) -> Generated:
    """Run an image forward, add noise to a region of one map's latents, and run it backwards.

    Args:
      detector: whose flows are run.
      variables: of its pyramid.
      image: u8[height, width, 3].
      number: of the feature map, from 0.
      region: where the noise is added.
      noise: its standard deviation.
      key: it is drawn from.

    Returns:
      The maps before and after.

    Reference: arXiv 2111.07677, section 4.5.
    """
    maps = jax.jit(detector.encoder)(detector.encoder.variables, image[None])
    apply = detector.pyramid.apply
    before = jax.jit(lambda v, m: apply(v, m, method="normalize")[0][number])(variables, maps)
    restore = jax.jit(lambda v, z: apply(v, z, method="restore")[number])
    latents = jax.jit(apply)(variables, maps)
    z = latents[number]
    mask = region_mask(region, z.shape[1:3])[..., None]
    noised = z + mask * noise * jax.random.normal(key, z.shape, z.dtype)
    changed = (*latents[:number], noised, *latents[number + 1 :])
    after, restored = (restore(variables, each) for each in (changed, latents))
    return Generated(*(np.asarray(x[0]) for x in (before, z, noised, after, restored)))


def changed_most(found: Generated) -> int:
    """Return the channel whose change is greatest against its own deviation."""
    change = np.abs(found.after - found.before).max((0, 1))
    deviation = found.before.std((0, 1))
    # A channel that is all but dead changes by more than its deviation and shows nothing.
    alive = deviation > 0.5 * np.median(deviation)
    return int(np.argmax(np.where(alive, change / np.maximum(deviation, 1e-12), -1.0)))


def _picture(
    values: flags.FlagValues, image: np.ndarray, found: Generated, region: Region, channel: int
) -> GenerationPicture:
    probable, disturbed = (
        np.exp(-0.5 * np.square(z).mean(-1)) for z in (found.latents, found.noised)
    )
    title = f"{Path(values.input).name}: map {values.map}, noise {values.noise:g} in the latents"
    return GenerationPicture(
        image=image,
        before=found.before[..., channel],
        probability=probable,
        noised=disturbed,
        after=found.after[..., channel],
        region=region,
        channel=channel,
        title=title,
    )


if __name__ == "__main__":
    signals.leave(main())
