"""What each map of a cross-map coupling reads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.flows import CrossMapConditioner, CrossMapCoupling


def test_every_map_of_a_cross_map_coupling_reads_all_maps(draw, draw_variables):
    flow = CrossMapCoupling(CrossMapConditioner(hidden_ratio=8.0))
    x = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), draw(((8, 8, 4), (2, 4, 6)), 1))
    variables = draw_variables(flow, x, None)
    run = jax.jit(functools.partial(flow.apply, variables))
    z = run(x)
    for i in range(2):
        moved = run(tuple(a.at[..., 0].add(1.0) if j == i else a for j, a in enumerate(x)))
        for j, (got, expected) in enumerate(zip(moved, z, strict=True)):
            half = got.shape[-1] // 2
            assert (np.abs(got - expected)[..., half:] > 0.0).mean() > 0.9
            if j != i:
                np.testing.assert_array_equal(got[..., :half], expected[..., :half])
