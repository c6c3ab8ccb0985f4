r"""Generate a feature map: disturb a region of an image's latents and run the flow backwards.

    python -m jaxflow.generate --workdir=runs/leather --input=leather.png --output=generated.png \
        --region=0.4,0.4,0.2,0.2 --noise=2

The picture shows the input, one channel of its (normalized) feature map, the probability of the
latents exp(-mean z^2 / 2), the same with noise in the region, and the channel that the inverse of
the flow makes of it: a new anomaly where the noise was. Reference: arXiv 2111.07677, section 4.5
and Figure 4.
"""

if __name__ == "__main__":
    from jaxflow import signals

    signals.end_at_once()  # The imports below take seconds.

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags

from jaxflow import command_line
from jaxflow.command_line import say, warn
from jaxflow.data.image import decode_image, resize_image
from jaxflow.detectors import Detector, FlowPyramid
from jaxflow.errors import InputError
from jaxflow.evaluation.generation_picture import GenerationPicture, Region, generation_figure
from jaxflow.evaluation.pictures import save_figure
from jaxflow.experiment import image_size, load_selections, make_detector, make_encoder
from jaxflow.files import check_outputs
from jaxflow.run_folder import check_facts, load_run, make_folder

_MOST_NOISE = 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    command_line.define_selection(values)
    flags.DEFINE_string("input", None, "image", flag_values=values)
    flags.DEFINE_string("output", None, "png file to write", flag_values=values)
    flags.DEFINE_list(
        "region",
        ["0.4", "0.4", "0.2", "0.2"],
        "top, left, height, width of the noise, in fractions of the image",
        flag_values=values,
    )
    flags.DEFINE_float(
        "noise", 2.0, "standard deviation of the noise; latents have 1", flag_values=values
    )
    flags.DEFINE_integer(
        "channel", None, "channel shown; default: the one that changes most", flag_values=values
    )
    flags.DEFINE_integer(
        "map", 1, "which feature map, 1 is the finest", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "of the noise", lower_bound=0, upper_bound=2**32 - 1, flag_values=values
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
    check_outputs("output", [output], [Path(values.input)])
    config, facts = load_run(Path(values.workdir))
    image = resize_image(image, image_size(config))
    if values.weights:
        config.encoder.weights = values.weights
    detector, variables = _load(Path(values.workdir), config, facts, values.selection)
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


def _load(
    workdir: Path, config: ml_collections.ConfigDict, facts: dict[str, Any], selection: str | None
) -> tuple[Detector, dict[str, Any]]:
    """Load a run's detector and the variables of its flows."""
    encoder = make_encoder(config)
    check_facts(workdir, facts, {**facts, "encoder_sha256": encoder.sha256})
    detector = make_detector(config, encoder)
    selections = load_selections(workdir, config, detector, warn)
    name = selection or ("best" if "best" in selections else "last")
    if name not in selections:
        raise InputError(
            f"--selection {name}: {workdir} has none, for no images were held out of training; "
            "leave the flag out"
        )
    return detector, selections[name].variables


def _check_numbers(values: flags.FlagValues, detector: Detector) -> None:
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
    detector: Detector,
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
    run = jax.jit(functools.partial(detector.pyramid.apply, method=_forward), static_argnums=2)
    back = jax.jit(functools.partial(detector.pyramid.apply, method=_inverse), static_argnums=2)
    before, latents = run(variables, maps, number)
    mask = region_mask(region, before.shape[1:3])[..., None]
    noised = latents + mask * noise * jax.random.normal(key, latents.shape, latents.dtype)
    after, restored = back(variables, jnp.concatenate([noised, latents]), number)
    return Generated(*(np.asarray(x) for x in (before[0], latents[0], noised[0], after, restored)))


def _forward(
    pyramid: FlowPyramid, maps: Sequence[jax.Array], number: int
) -> tuple[jax.Array, jax.Array]:
    """Return a map, normalized, and its latents."""
    return pyramid.normalize(maps)[number][0], pyramid(maps)[number].z


def _inverse(pyramid: FlowPyramid, z: jax.Array, number: int) -> jax.Array:
    """Return the normalized feature maps of latents f[b, h, w, c]."""
    condition = pyramid.code(z.shape[1], z.shape[2])
    return pyramid.flows[number].inverse_and_log_det(z, condition)[0]


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
