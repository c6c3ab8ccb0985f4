"""Jet: the public code's latents and log-determinants, and where its couplings look."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import AttentionConditioner, CheckerboardCoupling, Jet

FIXTURE = pathlib.Path(__file__).parent / "fixtures/jet.npz"
# Ours -> that of big_vision, below `couplings/dnn`.
BLOCK = {
    "norm_0": "LayerNorm_0",
    "norm_1": "LayerNorm_1",
    "inner": "MlpBlock_0/Dense_0",
    "outer": "MlpBlock_0/Dense_1",
}


def conditioner(arrays, step, blocks):
    """Give the parameters of a step's conditioner."""

    def layer(name, *leaves):
        return {leaf: arrays[f"param/couplings/dnn/{name}/{leaf}"][step] for leaf in leaves}

    params = {
        "input": layer("init_proj", "kernel", "bias"),
        "code": arrays["param/couplings/dnn/posemb"][step, 0],
        "norm": layer("vit/encoder_norm", "scale", "bias"),
        "output": layer("final_proj", "kernel", "bias"),
    }
    for i in range(blocks):
        block = f"vit/encoderblock_{i}"
        for ours, theirs in BLOCK.items():
            first = "scale" if "norm" in ours else "kernel"
            params[f"block_{i}_{ours}"] = layer(f"{block}/{theirs}", first, "bias")
        params[f"block_{i}_attention"] = {
            name: layer(f"{block}/MultiHeadDotProductAttention_0/{name}", "kernel", "bias")
            for name in ("query", "key", "value", "out")
        }
    return params


@pytest.fixture(scope="module")
def public():
    """Give the arrays of the fixture, and our variables of the same flow."""
    with np.load(FIXTURE) as data:
        arrays = dict(data)
    params, constants = {}, {}
    for step in range(6):
        inner = conditioner(arrays, step, 2)
        spatial = step % 3 == 2
        params[f"links_{step}"] = inner if spatial else {"flow": inner}
        if not spatial:
            index = arrays["param/channel_coupling_masks-FREEZE_ME"][step].argmax(0)
            constants[f"links_{step}"] = {"by": {"index": index.astype(np.int32)}}
    return arrays, {"params": {"chain": params}, "constants": {"chain": constants}}


@pytest.fixture
def jet():
    return Jet(steps=6, width=8, blocks=2, heads=2)


def run(flow, method, *arguments):
    return jax.jit(functools.partial(flow.apply, method=method))(*arguments)


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def test_it_has_the_variables_of_the_public_code(public, jet):
    arrays, variables = public
    shapes = jax.eval_shape(jet.init, jax.random.key(0), arrays["x"])
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, dict(shapes))
    count = sum(v.size for k, v in arrays.items() if "param/" in k and "FREEZE_ME" not in k)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def test_it_equals_the_public_code(public, jet):
    arrays, variables = public
    z, log_det = run(jet, "forward_and_log_det", variables, arrays["x"])
    assert relative(z, arrays["z"]) < 1e-5
    assert relative(log_det.sum((1, 2)), arrays["log_det"]) < 1e-5
    x, back = run(jet, "inverse_and_log_det", variables, arrays["z"])
    assert relative(x, arrays["x_back"]) < 1e-5
    assert relative(back.sum((1, 2)), arrays["back_log_det"]) < 1e-5


def test_it_starts_as_the_identity(jet):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 4, 6)), jnp.float32)
    variables = jax.jit(jet.init)(jax.random.key(0), x)
    z, log_det = run(jet, "forward_and_log_det", variables, x)
    np.testing.assert_allclose(z, x, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros((2, 2, 4)), atol=1e-6)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_checkerboard_moves_one_colour_and_has_its_log_det_there(draw_variables, swapped):
    flow = CheckerboardCoupling(AttentionConditioner(8, heads=2), swapped)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 4, 6)), jnp.float32)
    z, log_det = run(flow, "forward_and_log_det", draw_variables(flow, x, None), x)
    moved = np.indices((3, 4)).sum(0) % 2 == (0 if swapped else 1)
    changed = np.abs(z - x)[0].max(-1)
    assert (changed[moved] > 1e-3).all()
    assert (changed[~moved] == 0).all()
    assert (np.abs(log_det[0])[moved] > 1e-4).all()
    assert (log_det[0][~moved] == 0).all()


@pytest.mark.parametrize(
    ("flow", "shape", "message"),
    [
        (Jet(kinds=()), (1, 4, 4, 6), "kinds must name at least one, got none"),
        (Jet(kinds=("time",)), (1, 4, 4, 6), "kinds must be one of channels, spatial, got 'time'"),
        (Jet(kinds="spatial"), (1, 4, 4, 6), "kinds must be a sequence of names, got 'spatial'"),
        (Jet(steps=0), (1, 4, 4, 6), "steps must be at least 1, got 0"),
        (Jet(heads=3), (1, 4, 4, 6), "heads must divide width 256, got 3"),
        (Jet(blocks=0), (1, 4, 4, 6), "blocks must be at least 1, got 0"),
        (Jet(kinds=("spatial",)), (1, 3, 3, 6), "a checkerboard needs an even number of positions"),
        (Jet(kinds=("spatial",)), (1, 4, 4, 5), "a checkerboard needs an even number of positions"),
        (Jet(), (4, 6), "a 2D flow takes x"),
        (CheckerboardCoupling(3), (1, 4, 4, 6), "conditioner must be a Flax module, got 3"),
    ],
)
def test_what_does_not_fit_is_named(flow, shape, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros(shape))
