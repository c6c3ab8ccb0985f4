import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detectors import Latent


@pytest.fixture(scope="session")
def perturb():
    """Move every parameter from its start: zero kernels would make the flow an identity."""

    def perturb(params, scale=0.3):
        leaves, tree = jax.tree.flatten(params)
        noise = np.random.default_rng(0)
        return tree.unflatten(
            [x + scale * noise.standard_normal(x.shape).astype(x.dtype) for x in leaves]
        )

    return perturb


@pytest.fixture
def latents():
    """Give two latents of the same two images, at two scales."""
    noise = np.random.default_rng(1)

    def draw(*shape):
        return jnp.asarray(noise.standard_normal(shape), jnp.float32)

    return [
        Latent(draw(2, 4, 6, 5), draw(2, 4, 6)),
        Latent(3.0 * draw(2, 2, 3, 7), 10.0 * draw(2, 2, 3)),
    ]
