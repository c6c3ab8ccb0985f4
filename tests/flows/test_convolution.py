"""The conditioner's convolution is XLA's; its derivatives are XLA's, summed in another order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxflow.flows.convolution import conv_general_dilated

OPTIONS = {
    "same": {
        "window_strides": (1, 1),
        "padding": "SAME",
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
    },
    "strided": {
        "window_strides": (2, 1),
        "padding": [(1, 0), (2, 1)],
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
    },
}


def _values(images):
    keys = jax.random.split(jax.random.key(images), 2)
    x = jax.random.normal(keys[0], (images, 5, 6, 3), jnp.float64)
    return x, jax.random.normal(keys[1], (3, 3, 3, 4), jnp.float64)


# Fewer images than a group, a group, and groups with a rest.
@pytest.mark.parametrize("images", [1, 8, 19])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd, jax.jacrev])
def test_derivatives_are_those_of_xla(images, options, derivative):
    with jax.enable_x64(True):
        x, kernel = _values(images)

        def total(convolve):
            return lambda x, kernel: jnp.sin(convolve(x, kernel, **OPTIONS[options])).sum()

        @jax.jit
        def both(x, kernel):
            convolutions = conv_general_dilated, lax.conv_general_dilated
            return [derivative(total(each), (0, 1))(x, kernel) for each in convolutions]

        ours, xla = both(x, kernel)
        for mine, expected in zip(ours, xla, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12)


def test_second_derivatives_and_vmap_are_those_of_xla():
    with jax.enable_x64(True):
        x, kernel = _values(9)

        def gradient(convolve):
            def loss(kernel):
                return jnp.sin(convolve(x, kernel, **OPTIONS["same"])).sum()

            second = jax.grad(lambda kernel: (jax.grad(loss)(kernel) ** 2).sum())
            return jax.jit(jax.vmap(second))

        kernels = jnp.stack([kernel, 2 * kernel])
        np.testing.assert_allclose(
            gradient(conv_general_dilated)(kernels),
            gradient(lax.conv_general_dilated)(kernels),
            rtol=1e-10,
        )


# On a CPU one for each of 8, 8 and 4 images; the value itself is not needed.
@pytest.mark.parametrize(("platform", "count"), [("cpu", 3), ("cuda", 1), ("tpu", 1)])
def test_the_weight_gradient_takes_groups_of_images_only_on_a_cpu(platform, count):
    x, kernel = jnp.ones((20, 5, 6, 3)), jnp.ones((3, 3, 3, 4))
    gradient = jax.grad(lambda k: conv_general_dilated(x, k, **OPTIONS["same"]).sum())
    lowered = jax.jit(gradient).trace(kernel).lower(lowering_platforms=(platform,))
    assert lowered.as_text().count("stablehlo.convolution") == count
