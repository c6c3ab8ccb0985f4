"""MSFlow against its public code: the flow, its parameters, its scores; and its schedule."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import unflatten_dict

import jaxflow
from jaxflow.detectors import FlowPyramid, score_named
from jaxflow.detectors.over_maps import msflow_product, msflow_sum
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.experiments.checks import check_config, check_effects
from jaxflow.experiments.config import load_config
from jaxflow.experiments.detector import make_detector, make_flow
from jaxflow.flows import MSFlow
from jaxflow.training import OPTIMIZERS, RATES

ROOT = pathlib.Path(jaxflow.__file__).parents[1]
FIXTURE = ROOT / "tests" / "flows" / "fixtures" / "msflow.npz"
SIZE = (20, 16)


@pytest.fixture(scope="module")
def arrays():
    """Read what the public code made with FrEIA 0.2, its weights by the names that they have here.

    Its permutation before the fusion is followed by a swap of the halves, for its fusion begins
    with the other half.
    """
    with np.load(FIXTURE) as data:
        return dict(data)


def test_scores_of_a_single_map_are_those_of_their_definition():
    grid = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 4)), jnp.float32)
    for score in (msflow_product, msflow_sum):
        got = jax.jit(lambda m, score=score: score([m], (5, 4)))(grid)
        expected = 1 - np.exp(grid.min((1, 2), keepdims=True) - grid)
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.fixture(scope="module")
def latents(arrays):
    pyramid = FlowPyramid(MSFlow(parallel_steps=(1, 2, 1)), 3, "average_pool", "position", 8)
    flat = {k: v for k, v in arrays.items() if k.startswith(("params/", "constants/"))}
    variables = {name: {"flows": tree} for name, tree in unflatten_dict(flat, sep="/").items()}
    maps = [arrays[f"x/{i}"] for i in range(3)]
    drawn = jax.eval_shape(pyramid.init, jax.random.key(0), maps)
    assert jax.tree.map(jnp.shape, dict(drawn)) == jax.tree.map(jnp.shape, variables)
    return jax.jit(lambda v, m: pyramid.apply(v, m, method="latents"))(variables, maps)


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def test_the_flow_equals_the_public_code(arrays, latents):
    for i, latent in enumerate(latents):
        assert relative(latent.z, arrays[f"z/{i}"]) < 1e-5
    log_det = sum(latent.log_det.sum((1, 2)) for latent in latents)
    assert relative(log_det, arrays["log_det"]) < 1e-5


def test_the_scores_equal_the_public_code(arrays, latents):
    product = score_named("msflow-top3")(latents, SIZE)
    np.testing.assert_allclose(product.anomaly_map, arrays["product"], 1e-4, 1e-5)
    np.testing.assert_allclose(
        score_named("msflow_sum")(latents, SIZE).anomaly_map, arrays["sum"], 1e-4, 1e-5
    )
    # The public code rounds 3 % of 320 pixels down, and not to the nearest.
    np.testing.assert_allclose(product.anomaly_score, arrays["product_top"], 1e-2)
    assert np.ptp(arrays["sum"]) > 0.5


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("msflow_wide_resnet50_2", (256, 512, 1024), 99_556_224),
        ("msflow_resnet18", (64, 128, 256), 9_187_152),
    ],
)
def test_a_config_has_as_many_parameters_as_the_public_code(name, channels, expected):
    config = load_config(str(ROOT / "configs" / f"{name}.py"))
    check_config(config)
    check_effects(config)
    maps = [jax.ShapeDtypeStruct((1, 4, 4, c), jnp.float32) for c in channels]
    model = config.model
    pyramid = FlowPyramid(
        make_flow(model), 3, model.normalization, model.condition, model.condition_dim
    )
    shapes = jax.eval_shape(pyramid.init, jax.random.key(0), maps)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == expected


def test_another_number_of_maps_is_named():
    with pytest.raises(ValueError, match=r"^parallel_steps must be .* of 2 maps, got \(2, 5, 8"):
        MSFlow().init(jax.random.key(0), (jnp.ones((1, 2, 2, 4)),) * 2)
    with pytest.raises(ValueError, match="^parallel_steps must be at least 1, got 0"):
        MSFlow(parallel_steps=(0,)).init(jax.random.key(0), (jnp.ones((1, 2, 2, 4)),))


def test_an_encoder_with_another_number_of_maps_is_one_clear_line():
    config = load_config(str(ROOT / "configs" / "msflow_resnet18.py"))
    config.data.image_size = (64, 64)
    encoder = load_encoder("resnet18", stages=(1, 2), weights="random")
    with pytest.raises(InputError, match="^config.model: parallel_steps must be .* of 2 maps, got"):
        make_detector(config, encoder)


def test_the_learning_rate_rises_and_is_cut_twice():
    rate = RATES["steps_warmup"](100, 2, 12)
    values = [float(rate(step)) for step in (0, 12, 24, 139, 140, 179, 180)]
    np.testing.assert_allclose(values, [0.1, 0.55, 1, 1, 0.33, 0.33, 0.33**2], 1e-6)
    assert float(RATES["steps_warmup"](100, 2, 0)(0)) == 1.0
    with pytest.raises(ValueError, match="^warm-up epochs must be fewer than the 2 epochs"):
        RATES["steps_warmup"](2, 2, 2)


def test_a_clipped_gradient_has_a_norm_of_two_at_most():
    params, clipped = {"a": jnp.zeros(4)}, OPTIMIZERS["adam_clipped"](1e-3, 0.0)
    state, plain = clipped.init(params), optax.adam(1e-3)
    for size in (1.0, 100.0):
        gradient = {"a": jnp.full(4, size)}
        norm = min(1.0, 2.0 / (2.0 * size)) * size
        expected = plain.update({"a": jnp.full(4, norm)}, plain.init(params))[1]
        moments = clipped.update(gradient, state, params)[1]
        got = [leaf for leaf in jax.tree.leaves(moments) if leaf.shape == (4,)]
        want = [leaf for leaf in jax.tree.leaves(expected) if leaf.shape == (4,)]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, 1e-5)
