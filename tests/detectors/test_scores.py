import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxflow.detectors import (
    SCORES,
    Latent,
    anomaly_map,
    anomaly_score,
    dimensions,
    image_nll,
    log_prob_maxima,
    nll,
    probability,
    upsample,
)

# torch.nn.functional.interpolate(MAP, size, mode="bilinear", align_corners=...), PyTorch 2.
MAP = [[0.0, 1.0, 4.0], [2.0, -3.0, 0.5]]
TORCH = {
    (3, 5, False): [[0.0, 0.4, 1.0, 2.8, 4.0], [1.0, 0.2, -1.0, 0.95, 2.25], [2, 0, -3, -0.9, 0.5]],
    (3, 5, True): [[0.0, 0.5, 1.0, 2.5, 4.0], [1, 0, -1, 0.625, 2.25], [2, -0.5, -3, -1.25, 0.5]],
    (4, 6, False): [
        [0.0, 0.25, 0.75, 1.75, 3.25, 4.0],
        [0.5, 0.375, 0.125, 0.78125, 2.34375, 3.125],
        [1.5, 0.625, -1.125, -1.15625, 0.53125, 1.375],
        [2.0, 0.75, -1.75, -2.125, -0.375, 0.5],
    ],
    (4, 6, True): [
        [0.0, 0.4, 0.8, 1.6, 2.8, 4.0],
        [0.666667, 0.266667, -0.133333, 0.3, 1.566667, 2.833333],
        [1.333333, 0.133333, -1.066667, -1.0, 0.333333, 1.666667],
        [2.0, 0.0, -2.0, -2.3, -0.9, 0.5],
    ],
    (5, 7, False): [
        [0.0, 0.142857, 0.571429, 1.0, 2.285714, 3.571429, 4.0],
        [0.2, 0.257143, 0.428571, 0.6, 1.907143, 3.214286, 3.65],
        [1.0, 0.714286, -0.142857, -1.0, 0.392857, 1.785715, 2.25],
        [1.8, 1.171429, -0.714286, -2.6, -1.121429, 0.357143, 0.85],
        [2.0, 1.285714, -0.857143, -3.0, -1.5, 0.0, 0.5],
    ],
    (2, 3, False): MAP,
    (2, 3, True): MAP,
    (1, 2, False): [[0.5, 1.4375]],
    (1, 2, True): [[0.0, 4.0]],
}


@pytest.mark.parametrize("case", TORCH, ids=str)
def test_upsample_equals_torch(case):
    height, width, align_corners = case
    maps = jnp.stack([jnp.asarray(MAP), 2.0 * jnp.asarray(MAP)])
    got = upsample(maps, (height, width), align_corners)
    np.testing.assert_allclose(got[0], TORCH[case], 0, 2e-6)
    np.testing.assert_allclose(got[1], 2.0 * np.asarray(TORCH[case]), 0, 4e-6)


def test_upsample_keeps_a_constant_at_any_size():
    maps = jnp.full((1, 3, 5), 7.0)
    for size in ((3, 5), (48, 80), (17, 31), (2, 2), (1, 1)):
        np.testing.assert_allclose(upsample(maps, size), np.full((1, *size), 7.0), 1e-6)


def test_probability_equals_its_formula(latents):
    for latent in latents:
        z = np.asarray(latent.z, np.float64)
        np.testing.assert_allclose(probability(latent), -np.exp(-0.5 * (z**2).mean(-1)), 1e-5)


def test_nll_equals_scipy_normal_density_and_log_det(latents):
    for latent in latents:
        log_prob = stats.norm.logpdf(np.asarray(latent.z, np.float64)).sum(-1) + latent.log_det
        np.testing.assert_allclose(latent.log_prob(), log_prob, 1e-5)
        np.testing.assert_allclose(nll(latent), -log_prob / latent.z.shape[-1], 1e-5)


def test_image_nll_is_the_sum_over_maps_and_positions(latents):
    expected = [
        -sum(
            stats.norm.logpdf(np.asarray(latent.z[i], np.float64)).sum() + latent.log_det[i].sum()
            for latent in latents
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(image_nll(latents), expected, 1e-5)
    assert dimensions(latents) == 4 * 6 * 5 + 2 * 3 * 7


def test_probability_map_is_the_peers():
    # Where all positions of a map are alike, interpolation has no say: the mean over scales.
    z = [jnp.full((1, 4, 4, 3), 1.0), jnp.full((1, 2, 2, 5), 2.0)]
    latents = [Latent(array, jnp.zeros(array.shape[:-1])) for array in z]
    expected = -(np.exp(-0.5) + np.exp(-2.0)) / 2
    np.testing.assert_allclose(anomaly_map(latents, (8, 8), "probability"), expected, 1e-6)


@pytest.mark.parametrize(("score", "formula"), [("probability", probability), ("nll", nll)])
def test_anomaly_map_is_the_mean_of_upsampled_scores(latents, score, formula):
    got = anomaly_map(latents, (9, 13), score)
    parts = [np.asarray(upsample(formula(latent), (9, 13))) for latent in latents]
    np.testing.assert_allclose(got, np.mean(parts, 0), 1e-5, 1e-6)
    np.testing.assert_allclose(anomaly_score(got), np.asarray(got).max((1, 2)))


@pytest.mark.parametrize("score", SCORES)
def test_less_likely_latents_score_higher(latents, score):
    farther = [latent._replace(z=1.5 * latent.z) for latent in latents]
    maxima = log_prob_maxima(latents).max(0)
    near, far = (anomaly_map(each, (8, 12), score, maxima) for each in (latents, farther))
    assert (np.asarray(far) > np.asarray(near)).all()


def test_cflow_map_is_the_public_codes_with_given_maxima(latents):
    # As in the public code: normalize, exponentiate, upsample with aligned corners, add up.
    maxima, total = [0.5, -2.0], 0.0
    for latent, m in zip(latents, maxima, strict=True):
        per_channel = np.asarray(latent.log_prob(), np.float64) / latent.z.shape[-1]
        p = jnp.asarray(np.exp(per_channel - m), jnp.float32)
        total = total + np.asarray(upsample(p, (9, 13), align_corners=True))
    got = anomaly_map(latents, (9, 13), "cflow", jnp.asarray(maxima))
    np.testing.assert_allclose(got, 2.0 - total, 0, 1e-5 * np.abs(total).max())


def test_maxima_are_those_of_each_image_and_map(latents):
    expected = [
        [float(np.max(latent.log_prob()[i])) / latent.z.shape[-1] for latent in latents]
        for i in range(2)
    ]
    np.testing.assert_allclose(log_prob_maxima(latents), expected, 1e-6)


@pytest.mark.parametrize("maxima", [None, jnp.zeros(1)])
def test_cflow_without_its_maxima_is_refused(latents, maxima):
    with pytest.raises(ValueError, match="^the score cflow needs a training-set maximum for each"):
        anomaly_map(latents, (8, 8), "cflow", maxima)


def test_unknown_score_names_the_choices(latents):
    with pytest.raises(ValueError, match="^score must be one of .*, cflow, got 'density'$"):
        anomaly_map(latents, (8, 8), "density")
