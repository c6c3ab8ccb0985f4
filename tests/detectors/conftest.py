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


@pytest.fixture(scope="session")
def fit():
    """Run a detector's one pass for images of 16 x 24 pixels."""

    def fit(detector, maps, sizes=(5, 3, 100), seed=0):
        # Batches of uneven sizes, each followed by an image that does not count.
        variables = detector.init(jax.random.key(seed), (16, 24))
        (step,) = detector.before
        carry, start = step.start(variables), 0
        for size in sizes:
            batch = [m[start : start + size] for m in maps]
            start += size
            if len(batch[0]):
                valid = np.arange(len(batch[0]) + 1) < len(batch[0])
                batch = [np.concatenate([m, np.full_like(m[:1], 1e3)]) for m in batch]
                carry = step.update(variables, carry, batch, valid)
        return step.finish(variables, carry)

    return fit
