"""Distributions of latents: their densities against scipy's and scikit-learn's, their samples."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn.mixture import GaussianMixture as Reference

from jaxflow.flows import (
    Base,
    CFlowDecoder,
    DiagonalGaussian,
    GaussianMixture,
    GlobalAffine,
    HierarchicalMixture,
    Identity,
    StandardNormal,
    StudentT,
    TrainedBase,
)

MEAN, STD = np.array([0.5, -1.0, 2.0]), np.array([0.5, 1.5, 3.0])


def fit_reference(kind):
    """Fit a mixture of three components to drawn vectors of three channels."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((60, 3)) @ rng.standard_normal((3, 3)) + 4.0 * i
                        for i in range(3)])  # fmt: skip
    return Reference(3, covariance_type=kind, random_state=0).fit(x), x


def as_mixture(reference, dtype=np.float64):
    spread = reference.covariances_
    full = reference.covariance_type == "full"
    factors = np.linalg.cholesky(spread) if full else np.sqrt(spread)
    arrays = np.log(reference.weights_), reference.means_, factors
    return GaussianMixture(*(jnp.asarray(each, dtype) for each in arrays))


BASES = {
    "standard_normal": lambda dtype: StandardNormal(),
    "diagonal_gaussian": lambda dtype: DiagonalGaussian(
        jnp.asarray(MEAN, dtype), jnp.asarray(STD, dtype)
    ),
    "diagonal_mixture": lambda dtype: as_mixture(fit_reference("diag")[0], dtype),
    "full_mixture": lambda dtype: as_mixture(fit_reference("full")[0], dtype),
    "student_t": lambda dtype: StudentT(5.0),
}


def test_a_hierarchical_mixture_is_the_density_of_its_public_code(draw):
    """`logsumexp_k(-|z - mu_k|^2 / 2 + log w_k) - c / 2 log 2 pi`, mu_0 the main centre."""
    z = draw((4, 3))
    with jax.enable_x64(True):
        base = HierarchicalMixture(5, jnp.float64)
        variables = base.init(jax.random.key(0), jnp.asarray(z), method="log_prob")
        params = {name: np.asarray(value) for name, value in variables["params"].items()}
        params["log_weights"] = np.array([0.3, -1.0, 0.0, 2.0, 0.5])
        got = base.apply({"params": params}, jnp.asarray(z), method="log_prob")
    np.testing.assert_allclose(params["centre"], 5.0 / np.sqrt(6))
    centres = params["centre"] + np.concatenate([np.zeros((1, 3)), params["deltas"]])
    squares = np.square(z[..., None, :] - centres).sum(-1)
    log_weights = params["log_weights"] - special.logsumexp(params["log_weights"])
    expected = special.logsumexp(-0.5 * squares + log_weights, axis=-1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert params["deltas"].shape == (4, 3)


def test_samples_of_a_hierarchical_mixture_are_around_its_centres():
    base = HierarchicalMixture(2)
    params = {"centre": jnp.asarray([9.0, 0.0]), "deltas": jnp.asarray([[-18.0, 0.0]])}
    params["log_weights"] = jnp.log(jnp.asarray([0.75, 0.25]))
    z = base.apply({"params": params}, jax.random.key(0), (20_000, 2), method="sample")
    near = np.asarray(z[:, 0]) > 0
    assert near.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(z[near].mean(0), [9.0, 0.0], atol=0.05)
    np.testing.assert_allclose(z[near].std(0), 1.0, atol=0.05)


def test_a_diagonal_gaussian_is_that_of_scipy(draw):
    z = draw((4, 3))
    with jax.enable_x64(True):
        got = DiagonalGaussian(jnp.asarray(MEAN), jnp.asarray(-STD)).log_prob(jnp.asarray(z))
        assert got.dtype == np.float64
    np.testing.assert_allclose(got, stats.norm.logpdf(z, MEAN, STD).sum(-1), rtol=1e-9)


@pytest.mark.parametrize("df", [0.7, 4.0, 30])
def test_a_student_t_is_that_of_scipy(draw, df):
    z = 5.0 * draw((4, 3))
    with jax.enable_x64(True):
        got = StudentT(df).log_prob(jnp.asarray(z))
    np.testing.assert_allclose(got, stats.t.logpdf(z, df).sum(-1), rtol=1e-9)


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_a_mixture_is_that_of_scikit_learn(kind):
    reference, x = fit_reference(kind)
    x = np.concatenate([x, x[:3] + 100.0])  # Where every component underflows.
    with jax.enable_x64(True):
        got = as_mixture(reference).log_prob(jnp.asarray(x))
    np.testing.assert_allclose(got, reference.score_samples(x), rtol=1e-9)
    narrow = as_mixture(reference, np.float32).log_prob(jnp.asarray(x, np.float32))
    np.testing.assert_allclose(narrow, got, rtol=1e-4)


def test_the_weights_of_a_mixture_are_normalized_and_only_lower_factors_read(draw):
    z = jnp.asarray(draw((3,)), jnp.float32)
    reference, _ = fit_reference("full")
    base = as_mixture(reference, np.float32)
    other = GaussianMixture(
        base.log_weights + 3.0, base.means, base.factors + jnp.triu(jnp.ones((3, 3)), 1)[None]
    )
    np.testing.assert_allclose(other.log_prob(z), base.log_prob(z), rtol=1e-5)


@pytest.mark.parametrize("name", BASES)
def test_samples_have_the_moments_of_the_density(name):
    with jax.enable_x64(True):
        base = BASES[name](np.float64)
        z = base.sample(jax.random.key(0), (40, 1000, 3)).reshape(-1, 3)
        # E[grad log p] = 0 and E[z grad log p] = -I, whatever the density.
        score = jax.jit(jax.grad(lambda z: base.log_prob(z).sum()))(z)
        assert isinstance(base, Base)
    z, score = np.asarray(z), np.asarray(score)
    np.testing.assert_allclose(score.mean(0), 0.0, atol=0.03)
    size = z.std(0)[:, None] * score.std(0)[None]
    np.testing.assert_allclose((z.T @ score / len(z) + np.eye(3)) / size, 0.0, atol=0.03)


def test_samples_of_a_mixture_have_its_mean_and_covariance():
    for kind in ("diag", "full"):
        reference, _ = fit_reference(kind)
        z = as_mixture(reference, np.float32).sample(jax.random.key(1), (50_000, 3))
        weights, means, spread = reference.weights_, reference.means_, reference.covariances_
        spread = np.stack([np.diag(each) for each in spread]) if kind == "diag" else spread
        mean = weights @ means
        offsets = means - mean
        expected = np.einsum("k,kcd->cd", weights, spread)
        expected += np.einsum("k,kc,kd->cd", weights, offsets, offsets)
        np.testing.assert_allclose(z.mean(0), mean, atol=0.08)
        np.testing.assert_allclose(np.cov(z.T), expected, atol=0.03 * np.abs(expected).max())


@pytest.mark.parametrize("name", BASES)
def test_every_base_runs_under_the_transformations(name, draw):
    base = BASES[name](np.float32)
    flow, z = CFlowDecoder(steps=1, base=base), jnp.asarray(draw((2, 3)), jnp.float32)
    with jax.numpy_rank_promotion("raise"):
        variables = jax.jit(flow.init)(jax.random.key(0), z)
        apply = functools.partial(flow.apply, variables, method="log_prob")
        log_prob = jax.jit(apply)(z)
        each = jax.jit(jax.vmap(apply))(z)
        forward = jax.eval_shape(jax.hessian(lambda z: apply(z).sum()), z)
        half = jax.eval_shape(base.log_prob, z.astype(jnp.bfloat16))
        sample = functools.partial(flow.apply, variables, method="sample")
        drawn = jax.eval_shape(lambda key: sample(key, (5, 2, 3)), jax.random.key(1))
    np.testing.assert_allclose(each, log_prob, rtol=1e-4)
    assert (log_prob.shape, forward.shape, drawn.shape) == ((2, 2), z.shape * 2, (5, 2, 3))
    assert half.dtype == np.float32


def test_the_arrays_of_a_base_are_trained_with_its_flow(draw):
    z = jnp.asarray(draw((3,), batch=20), jnp.float32)
    base = as_mixture(fit_reference("full")[0], np.float32)
    flow = GlobalAffine(base=TrainedBase(base))
    init = jax.jit(functools.partial(flow.init, method="log_prob"))
    variables = init(jax.random.key(0), z)
    assert set(variables["params"]["base"]) == {"log_weights", "means", "factors"}

    @jax.jit
    def value_and_grad(variables):
        def log_prob(variables):
            return flow.apply(variables, z, method="log_prob").sum()

        return jax.value_and_grad(log_prob)(variables)

    value, gradient = value_and_grad(variables)
    np.testing.assert_allclose(value, base.log_prob(z).sum(), rtol=1e-4)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(gradient["params"]["base"]))
    sample = flow.apply(variables, jax.random.key(1), (4, 3), method="sample")
    np.testing.assert_allclose(sample, base.sample(jax.random.key(1), (4, 3)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StudentT(0.0), "df must be positive, got 0.0"),
        (
            lambda: DiagonalGaussian(jnp.ones(3), jnp.ones(2)),
            "mean and std must be f[c] both, got shapes (3,) and (2,)",
        ),
        (
            lambda: DiagonalGaussian(jnp.ones(3), jnp.ones(3, jnp.int32)),
            "std must have a floating dtype, got int32",
        ),
        (
            lambda: GaussianMixture(jnp.ones(2), jnp.ones((3, 4)), jnp.ones((3, 4))),
            "log_weights and means must be f[k] and f[k, c], got shapes (2,) and (3, 4)",
        ),
        (
            lambda: GaussianMixture(jnp.ones(3), jnp.ones((3, 4)), jnp.ones((3, 4, 5))),
            "factors must have shape (3, 4) or (3, 4, 4), as means are (3, 4), got (3, 4, 5)",
        ),
        (
            lambda: GaussianMixture(jnp.ones(3), jnp.ones((3, 4)), jnp.ones((3, 4)), "exact"),
            "precision must be a precision of JAX",
        ),
        (
            lambda: DiagonalGaussian(jnp.ones(3), jnp.ones(3)).log_prob(jnp.ones((2, 4))),
            "z must have 3 channels, as the base has, got 4",
        ),
        (
            lambda: Identity(base=TrainedBase(StudentT())).init(
                jax.random.key(0), jnp.ones((2, 4)), method="log_prob"
            ),
            "start must hold arrays to train, got StudentT(df=4.0)",
        ),
        (
            lambda: Identity(base=TrainedBase(3)).init(
                jax.random.key(0), jnp.ones((2, 4)), method="log_prob"
            ),
            "start must be a dataclass with arrays, got 3",
        ),
    ],
)
def test_a_bad_base_is_named(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()
