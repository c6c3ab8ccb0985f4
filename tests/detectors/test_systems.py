"""Published flows over all maps against their public code: latents, log_det, parameters."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

import jaxflow
from jaxflow.detectors import LOSSES, FlowPyramid, score_named
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.experiments.checks import check_config, check_effects
from jaxflow.experiments.config import load_config
from jaxflow.experiments.detector import make_detector, make_flow
from jaxflow.flows import CSFlow, DifferNet, UShapedFlow
from jaxflow.training import OPTIMIZERS

ROOT = pathlib.Path(jaxflow.__file__).parents[1]
FIXTURES = ROOT / "tests" / "flows" / "fixtures"
# What the public code made, its weights by the names that they have here.
SYSTEMS = {
    # With FrEIA 0.2. It upsamples channels in another order; the last permutation of each stage is
    # the public one followed by that reordering.
    "u_shaped": UShapedFlow(steps=2),
    # The permutations of these are followed by a swap of the halves, for they begin with the other.
    "cs_flow": CSFlow(steps=2, kernel_sizes=(3, 5), hidden_ratio=4.0),
    "differnet": DifferNet(steps=2, hidden_ratio=2.0),
}


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def run(name):
    """Return the arrays of a fixture, and the latents of its input."""
    with np.load(FIXTURES / f"{name}.npz") as data:
        arrays = dict(data)
    maps = tuple(arrays[f"x/{i}"] for i in range(3))
    pyramid = FlowPyramid(SYSTEMS[name], 3, "none")
    flat = {k: v for k, v in arrays.items() if k.startswith(("params/", "constants/"))}
    variables = {kind: {"flows": tree} for kind, tree in unflatten_dict(flat, sep="/").items()}
    drawn = jax.eval_shape(pyramid.init, jax.random.key(0), maps)
    assert jax.tree.map(jnp.shape, dict(drawn)) == jax.tree.map(jnp.shape, variables)
    return arrays, jax.jit(lambda v, m: pyramid.apply(v, m, method="latents"))(variables, maps)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_flow_equals_the_public_code(name):
    arrays, latents = run(name)
    for i, latent in enumerate(latents):
        assert relative(latent.z, arrays[f"z/{i}"]) < 1e-5
    log_det = sum(latent.log_det.sum((1, 2)) for latent in latents)
    assert relative(log_det, arrays["log_det"]) < 1e-5


def test_the_score_of_the_u_shaped_flow_equals_the_public_code():
    arrays, latents = run("u_shaped")
    scored = score_named("probability")(latents, (32, 32))
    np.testing.assert_allclose(scored.anomaly_map, -arrays["probability"], 1e-5)


def test_the_score_and_the_loss_of_cs_flow_equal_the_public_code():
    arrays, latents = run("cs_flow")
    # It leaves the constant of the standard normal out of both.
    constant = 0.5 * np.log(2 * np.pi)
    scored = score_named("latent-weighted-mean")(latents, (16, 24))
    np.testing.assert_allclose(scored.anomaly_score - constant, arrays["score"], 1e-5)
    losses = LOSSES["nll_per_dimension"].of_images(latents)
    np.testing.assert_allclose(losses.mean() - constant, arrays["loss"], 1e-5)


def test_the_score_and_the_loss_of_differnet_equal_the_public_code():
    arrays, latents = run("differnet")
    constant = 0.5 * np.log(2 * np.pi)
    scored = score_named("latent")(latents, (6, 8))
    # It does not halve the mean square.
    np.testing.assert_allclose(2 * (scored.anomaly_score - constant), arrays["score"], 1e-5)
    assert np.ptp(scored.anomaly_map, (1, 2)).max() == 0
    losses = LOSSES["nll_per_dimension"].of_images(latents)
    np.testing.assert_allclose(losses.mean() - constant, arrays["loss"], 1e-5)


@pytest.mark.parametrize(
    ("name", "maps", "expected"),
    [
        ("u_shaped_resnet18", ((64, 64), (32, 128), (16, 256)), 2_397_384),
        ("u_shaped_wide_resnet50_2", ((64, 256), (32, 512), (16, 1024)), 27_264_096),
        ("cs_flow_efficientnet_b5", ((24, 304), (12, 304), (6, 304)), 275_227_288),
        ("differnet_resnet18", ((1, 256), (1, 256), (1, 256)), 172_077_056),
    ],
)
def test_a_config_has_as_many_parameters_as_the_public_code(name, maps, expected):
    config = load_config(str(ROOT / "configs" / f"{name}.py"))
    check_config(config)
    check_effects(config)
    x = [jax.ShapeDtypeStruct((1, side, side, c), jnp.float32) for side, c in maps]
    pyramid = FlowPyramid(make_flow(config.model), 3, config.model.normalization)
    shapes = jax.eval_shape(pyramid.init, jax.random.key(0), x)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == expected


def test_an_input_that_the_u_shaped_flow_cannot_halve_is_one_clear_line():
    config = load_config(str(ROOT / "configs" / "u_shaped_resnet18.py"))
    encoder = load_encoder("resnet18", weights="random")
    config.data.image_size = (72, 64)
    with pytest.raises(InputError, match=r"^config.model: x\[1\] must be twice as high .* \(1, 9,"):
        make_detector(config, encoder)


def test_the_optimizer_of_cs_flow_damps_small_steps_and_clips_large_ones():
    adam, params = OPTIMIZERS["adam_cs_flow"](0.1, 0.0), jnp.zeros(4)
    for size, clipped in ((1e-4, 1e-4), (50.0, 0.5)):
        updates, _ = adam.update(jnp.full(4, size), adam.init(params), params)
        np.testing.assert_allclose(updates, -0.1 * clipped / (clipped + 1e-4), 1e-4)


def test_the_optimizer_of_differnet_forgets_sooner_than_adam():
    adam, params = OPTIMIZERS["adam_differnet"](0.1, 0.0), jnp.zeros(())
    state = adam.init(params)
    for gradient in (1.0, 0.0):
        updates, state = adam.update(jnp.asarray(gradient), state, params)
    # Of moments 0.2 and 0.16 of the first gradient, and their sum of weights 0.36.
    expected = (0.16 / 0.36) / (np.sqrt(0.16 / 0.36) + 1e-4)
    np.testing.assert_allclose(updates, -0.1 * expected, 1e-5)
