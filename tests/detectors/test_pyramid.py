"""A flow for each feature map: both directions, its conditions, and what it does not take."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detectors import FlowPyramid
from jaxflow.flows import NORMALIZATIONS, CFlowDecoder, FastFlow2D


@pytest.fixture
def build(perturb):
    """Make a pyramid with perturbed variables, its maps, and run(method, maps, condition)."""

    def build(name):
        pyramid = FlowPyramid(CFlowDecoder(steps=1), 2, name, "position", 4)
        maps = [jnp.linspace(-1.0, 1.0, 16).reshape(1, 2, 2, 4), jnp.ones((1, 1, 2, 3))]
        variables = dict(jax.jit(pyramid.init)(jax.random.key(0), maps))
        variables["params"] = perturb(variables["params"], 0.1)
        variables["constants"] = {
            key: jax.tree.map(lambda x: x + 0.5, tree) if "normalization" in key else tree
            for key, tree in variables["constants"].items()
        }

        def run(method, *arguments):
            return jax.jit(functools.partial(pyramid.apply, method=method))(variables, *arguments)

        return pyramid, maps, run

    return build


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_pyramid_is_a_bijection_where_its_normalization_is(build, name):
    pyramid, maps, run = build(name)
    normalized, _ = run("normalize", maps)
    z, log_det = run("forward_and_log_det", maps)
    for got, expected in zip(run("restore", z), normalized, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    if not pyramid.bijective:
        with pytest.raises(ValueError, match="^LayerNorm has no inverse"):
            run("inverse", z)
        return
    back, back_log_det = run("inverse_and_log_det", z)
    for got, expected in zip(back, maps, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    for got, expected in zip(back_log_det, log_det, strict=True):
        np.testing.assert_allclose(got, -expected, atol=1e-4)


def test_a_condition_that_is_given_takes_the_place_of_the_named_one(build):
    pyramid, maps, run = build("none")
    codes = pyramid.codes(maps)
    others = tuple(1.0 - code for code in codes)
    z, changed = run("__call__", maps), run("__call__", maps, others)
    for got, expected in zip(run("__call__", maps, codes), z, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not np.allclose(changed[0], z[0], atol=1e-3)
    for got, expected in zip(run("inverse", changed, others), maps, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("flow", "maps", "message"),
    [
        (FastFlow2D(), [(1, 2, 2, 2)], "x must hold 2 maps, got 1"),
        (FastFlow2D(), [(2, 2), (2, 2)], "feature_maps[0] must be f[b, h, w, c], got shape (2, 2)"),
        (FastFlow2D, [(1, 2, 2, 2)] * 2, "flow must be a flow, got the class FastFlow2D"),
        (FastFlow2D(base=3), [(1, 2, 2, 2)] * 2, "flow must have a standard normal base, got 3"),
    ],
)
def test_what_no_pyramid_takes_is_named(flow, maps, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        FlowPyramid(flow, maps=2).init(jax.random.key(0), [jnp.ones(shape) for shape in maps])
