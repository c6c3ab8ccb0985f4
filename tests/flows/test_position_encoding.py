import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import CFlowDecoder, position_encoding


def reference(height, width, dim):
    """Fill the code one number at a time."""
    code = np.zeros((height, width, dim))
    half = dim // 2
    for row in range(height):
        for column in range(width):
            for k in range(0, half, 2):
                rate = 1.0 / 10000.0 ** (k / half)
                code[row, column, k] = math.sin(column * rate)
                code[row, column, k + 1] = math.cos(column * rate)
                code[row, column, half + k] = math.sin(row * rate)
                code[row, column, half + k + 1] = math.cos(row * rate)
    return code


@pytest.mark.parametrize(("height", "width", "dim"), [(3, 5, 8), (7, 2, 4), (1, 1, 128)])
def test_position_code_equals_the_formula(height, width, dim):
    code = position_encoding(height, width, dim)
    assert code.dtype == jnp.float32
    np.testing.assert_allclose(code, reference(height, width, dim), atol=1e-5)


def test_every_position_has_its_own_code():
    code = np.asarray(position_encoding(14, 9)).reshape(-1, 128)
    distance = np.linalg.norm(code[:, None] - code[None], axis=-1)
    assert distance[~np.eye(len(code), dtype=bool)].min() > 0.5


def test_one_code_serves_every_image_of_a_batch(draw_variables):
    code = position_encoding(3, 4, 8)
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (6,)), (2, 3, 4, 6))
    decoder = CFlowDecoder(steps=2)
    variables = draw_variables(decoder, x, code)
    apply = jax.jit(decoder.apply)
    z = apply(variables, x, code)
    np.testing.assert_array_equal(z[0], z[1])
    spread = jnp.broadcast_to(code, (2, *code.shape))
    np.testing.assert_allclose(z, apply(variables, x, spread), rtol=1e-6, atol=1e-6)
    assert np.ptp(z[0], axis=(0, 1)).min() > 1e-3


def test_the_code_promotes_no_rank():
    with jax.numpy_rank_promotion("raise"):
        assert position_encoding(2, 3, 8).shape == (2, 3, 8)
