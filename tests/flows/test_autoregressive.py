"""What each channel of a masked autoregressive flow reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import MaskedAutoregressive


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("condition", [None, 2])
def test_a_masked_flow_reads_earlier_channels_and_the_condition_only(
    ratio, condition, draw, draw_variables
):
    flow = MaskedAutoregressive(hidden_ratio=ratio)
    x, code = (jnp.asarray(draw((n,), 50, n), jnp.float32) for n in (5, 2))
    code = code if condition else None
    variables = draw_variables(flow, x, code)

    def run(x, code):
        return flow.apply(variables, x, code)

    of_one = jax.jacobian(run, (0, 1) if condition else 0)
    jacobian = jax.jit(jax.vmap(of_one))(x, code)
    # Of any of the inputs, as a unit may be off at one of them.
    reads = [np.any(np.abs(each) > 0.0, axis=0) for each in jax.tree.leaves(jacobian)]
    np.testing.assert_array_equal(np.triu(reads[0], 1), False)
    assert np.diag(reads[0]).all()
    if ratio == 3.0:
        assert reads[0][np.tril_indices(5)].all()
        assert condition is None or reads[1].all()
