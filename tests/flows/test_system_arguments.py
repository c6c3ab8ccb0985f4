import re

import jax
import jax.numpy as jnp
import pytest

from jaxflow.flows import CSFlow, DifferNet, UShapedFlow


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 4, 4, 6), (2, 2, 2, 12)], "stage 1 must have a multiple of 8 channels, for half of "),
        ([(2, 4, 4, 6), (2, 4, 4, 8)], "x[0] must be twice as high and wide as x[1], f[..., 8, 8,"),
        ([(2, 4, 4, 6), (1, 2, 2, 8)], "x[0] must be twice as high and wide as x[1], f[..., 4, 4,"),
    ],
)
def test_maps_that_a_u_shaped_flow_does_not_take_are_named(shapes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(UShapedFlow().init, jax.random.key(0), tuple(map(jnp.zeros, shapes)))


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        (
            {},
            [(2, 5, 4, 6), (2, 2, 2, 6)],
            "maps must halve from one to the next, got [(5, 4), (2,",
        ),
        ({"kernel_sizes": ()}, [(2, 4, 4, 6)], "kernel_sizes must name at least one size, got"),
        ({"kernel_sizes": (2,)}, [(2, 4, 4, 6)], "kernel_size must be odd and positive, got 2"),
        ({"steps": 0}, [(2, 4, 4, 6)], "steps must be at least 1, got 0"),
        ({"permutation": "x"}, [(2, 4, 4, 6)], "permutation must be one of hard, soft, linear"),
    ],
)
def test_what_cs_flow_does_not_take_is_named(options, shapes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(CSFlow(**options).init, jax.random.key(0), tuple(map(jnp.zeros, shapes)))


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ({}, [(2, 4, 6), (2, 2, 6)], "x must have maps that differ only in channels, got [(2, 4,"),
        ({"steps": 0}, [(2, 6)], "steps must be at least 1, got 0"),
        ({"permutation": "x"}, [(2, 6)], "permutation must be one of hard, soft, linear, got 'x'"),
    ],
)
def test_what_differnet_does_not_take_is_named(options, shapes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(DifferNet(**options).init, jax.random.key(0), tuple(map(jnp.zeros, shapes)))
