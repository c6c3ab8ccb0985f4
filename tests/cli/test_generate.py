"""`generate`: noise in a region of the latents, the way back, the picture and the mistakes."""

import io
from contextlib import redirect_stderr, redirect_stdout

import jax
import numpy as np
import pytest
from PIL import Image

from jaxflow import generate
from jaxflow.detectors import FlowDetector, FlowPyramid
from jaxflow.detectors.generation import region_mask
from jaxflow.encoders import load_encoder
from jaxflow.flows import CFlowDecoder, FastFlow2D
from jaxflow.reports.generation_picture import Region

REGION = Region(0.25, 0.5, 0.25, 0.25)


def run(*arguments):
    """Run the command; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = generate.main(["generate", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def perturbed(detector):
    """Draw variables away from the start, where the flow is all but the identity."""
    variables = detector.init(jax.random.key(0), (32, 32))
    leaves, tree = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [x + 0.02 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return {**variables, "params": jax.tree.unflatten(tree, leaves)}


def pyramids():
    flows = {
        "fastflow": FlowPyramid(FastFlow2D(steps=2, kernel_sizes=(3,)), maps=1),
        "dense": FlowPyramid(
            CFlowDecoder(steps=2, permutation="hard"),
            maps=1,
            normalization="none",
            condition="position",
        ),
    }
    return [pytest.param(pyramid, name == "dense", id=name) for name, pyramid in flows.items()]


@pytest.mark.parametrize(("pyramid", "by_position"), pyramids())
def test_the_inverse_restores_the_map_and_noise_stays_near_its_region(pyramid, by_position):
    detector = FlowDetector(load_encoder("resnet18", stages=(1,), weights="random"), pyramid)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = generate.generate(
        detector,
        perturbed(detector),
        image,
        number=0,
        region=REGION,
        noise=2.0,
        key=jax.random.key(2),
    )
    assert found.before.shape == found.after.shape == (8, 8, 64)
    assert not np.allclose(found.before, found.latents, atol=0.01)
    np.testing.assert_allclose(found.restored, found.before, atol=1e-4)
    mask = region_mask(REGION, (8, 8))
    noise = found.noised - found.latents
    assert not noise[~mask].any()
    assert noise[mask].std() == pytest.approx(2.0, rel=0.2)
    changed = np.abs(found.after - found.before).max(-1) > 1e-3
    assert changed[mask].all()
    if by_position:
        assert not changed[~mask].any()
    else:
        # Two steps of two 3 x 3 convolutions reach four positions.
        rows, columns = np.nonzero(changed)
        assert columns.min() == 0
        assert rows.max() == 7
        assert not changed[-1, :].all()


def test_the_region_is_where_the_fractions_say_and_never_empty():
    expected = np.zeros((8, 8), bool)
    expected[2:4, 4:6] = True
    np.testing.assert_array_equal(region_mask(REGION, (8, 8)), expected)
    assert region_mask(Region(0, 0, 1, 1), (3, 5)).all()
    assert region_mask(Region(0.99, 0.0, 0.01, 0.001), (4, 4)).sum() == 1
    assert region_mask(Region(0.99, 0.0, 0.01, 0.001), (4, 4))[3, 0]


def test_the_picture_shows_every_stage_and_a_seed_repeats_it(trained, image, tmp_path):
    image(tmp_path / "in.png")
    arguments = [f"--workdir={trained[0]}", f"--input={tmp_path / 'in.png'}", "--channel=3"]
    names = [tmp_path / "new" / name for name in ("a.png", "b.png", "c.png")]
    for path, seed in zip(names, (0, 0, 1), strict=True):
        code, out, err = run(*arguments, f"--output={path}", f"--seed={seed}")
        assert (code, err) == (0, "")
        assert out.startswith("channel 3; without noise the inverse errs by ")
    first, again, other = (np.asarray(Image.open(path)) for path in names)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape[1] > 4 * first.shape[0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--region=0.5,0.5,0.6,0.1"], ["--region=0.5,0.5,0.6,0.1", "(0, 1]"]),
        (["--region=0,0,0,0.1"], ["(0, 1]"]),
        (["--region=nan,0,0.1,0.1"], ["(0, 1]"]),
        (["--region=a,b"], ["top,left,height,width", "0.4,0.4,0.2,0.2"]),
        (["--noise=0"], ["--noise: expected a positive number", "got 0"]),
        (["--noise=nan"], ["--noise"]),
        (["--noise=1e30"], ["--noise", "at most 1e+06"]),
        (["--seed=100000000000000000000"], ["seed"]),
        (["--map=2"], ["--map 2: expected 1 to 1"]),
        (["--channel=64"], ["--channel 64: map 1 has channels 0 to 63"]),
        (["--output=."], ["is a folder"]),
        (["--input=/none.png"], ["/none.png"]),
        (["--workdir=/none"], ["holds no run"]),
    ],
)
def test_a_mistake_is_one_line(trained, image, tmp_path, arguments, parts):
    image(tmp_path / "in.png")
    given = [f"--workdir={trained[0]}", f"--input={tmp_path / 'in.png'}"]
    code, out, err = run(*given, f"--output={tmp_path / 'out.png'}", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(part in err for part in parts), err
    assert not (tmp_path / "out.png").exists()
