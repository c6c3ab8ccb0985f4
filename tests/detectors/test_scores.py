import jax
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
    latent_term,
    nll,
    probability,
    score_named,
    upsample,
    volume_term,
)
from jaxflow.detectors.over_maps import CFLOW, MEAN, OVER_MAPS, TYPICALITY
from jaxflow.detectors.over_positions import OVER_POSITIONS, kth_largest, nfa, top_mean
from jaxflow.detectors.scores import LatentMeanings, learned_name

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


NAMES = [
    f"{base}{over_maps}{over_positions}"
    for base, score in SCORES.items()
    for over_maps in ("", *(f"-{end}" for end in OVER_MAPS))
    for over_positions in ("", *(f"-{end}" for end in OVER_POSITIONS))
    if not (over_maps and score.over_maps is not MEAN)
    and not (over_positions == "-nfa" and over_maps != "-max_p")
]


def learn(name, normal):
    """Return what a score is relative to, learned from the latents of normal images."""
    score = score_named(name)
    reference = score.over_maps.reference
    return reference and reference.reduce(reference.of_images(score.of_maps(normal)))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_a_finite_map_and_score_of_each_image_by_itself(latents, name):
    reference = learn(name, latents)
    maps, scores = score_named(name)(latents, (8, 12), reference)
    assert (maps.shape, scores.shape) == ((2, 8, 12), (2,))
    assert np.isfinite(maps).all()
    assert np.isfinite(scores).all()
    second = [jax.tree.map(lambda a: a[1:], latent) for latent in latents]
    alone = score_named(name)(second, (8, 12), reference)
    np.testing.assert_allclose(alone.anomaly_map[0], maps[1], 1e-5, 1e-6)
    np.testing.assert_allclose(alone.anomaly_score[0], scores[1], 1e-5, 1e-6)


# Two look at the volume or at both sides; two are 0 at the most normal pixel of every image.
@pytest.mark.parametrize(
    "score", sorted(SCORES.keys() - {"volume", "typicality", "msflow", "msflow_sum"})
)
def test_less_likely_latents_score_higher(latents, score):
    farther = [latent._replace(z=1.5 * latent.z) for latent in latents]
    reference = learn(score, latents)
    near, far = (anomaly_map(each, (8, 12), score, reference) for each in (latents, farther))
    assert (np.asarray(far) > np.asarray(near)).all()


def test_the_terms_add_up_to_the_nll(latents):
    for latent in latents:
        terms = latent_term(latent) + volume_term(latent)
        np.testing.assert_allclose(terms, nll(latent), 1e-5, 1e-5)
        np.testing.assert_allclose(volume_term(latent) * latent.z.shape[-1], -latent.log_det, 1e-6)


def test_cflow_map_is_the_public_codes_with_given_maxima(latents):
    # As in the public code: normalize, exponentiate, upsample with aligned corners, add up.
    maxima, total = [0.5, -2.0], 0.0
    for latent, m in zip(latents, maxima, strict=True):
        per_channel = np.asarray(latent.log_prob(), np.float64) / latent.z.shape[-1]
        p = jnp.asarray(np.exp(per_channel - m), jnp.float32)
        total = total + np.asarray(upsample(p, (9, 13), align_corners=True))
    got = anomaly_map(latents, (9, 13), "cflow", jnp.asarray(maxima))
    np.testing.assert_allclose(got, 2.0 - total, 0, 1e-5 * np.abs(total).max())


def test_cflow_is_relative_to_the_greatest_of_all_images_and_positions(latents):
    expected = [float(np.max(each.log_prob())) / each.z.shape[-1] for each in latents]
    np.testing.assert_allclose(learn("cflow", latents), expected, 1e-6)
    assert not CFLOW.reference.held_out


@pytest.mark.parametrize("maxima", [None, jnp.zeros(1)])
def test_cflow_without_its_maxima_is_refused(latents, maxima):
    with pytest.raises(ValueError, match="^the score cflow needs a training-set maximum for each"):
        anomaly_map(latents, (8, 8), "cflow", maxima)


def test_calibrated_maps_have_mean_0_and_deviation_1_on_the_images_they_learned_from(latents):
    moments = learn("nll-calibrated", latents)
    for latent, (mean, deviation) in zip(latents, moments, strict=True):
        values = np.asarray(nll(latent), np.float64)
        np.testing.assert_allclose([mean, deviation], [values.mean(), values.std()], 1e-5)
    expected = [
        upsample((nll(latent) - m) / d, (8, 12))
        for latent, (m, d) in zip(latents, moments, strict=True)
    ]
    got = anomaly_map(latents, (8, 12), "nll-calibrated", moments)
    np.testing.assert_allclose(got, np.mean(expected, 0), 1e-5, 1e-5)
    assert OVER_MAPS["calibrated"].reference.held_out


def test_typicality_is_the_distance_from_the_mean_on_either_side(latents):
    moments = learn("typicality", latents)
    expected = [
        upsample(np.abs(nll(latent) - m), (8, 12))
        for latent, (m, _) in zip(latents, moments, strict=True)
    ]
    got = anomaly_map(latents, (8, 12), "typicality", moments)
    np.testing.assert_allclose(got, np.mean(expected, 0), 1e-5, 1e-6)
    assert TYPICALITY.reference.held_out


def test_max_p_is_the_log_of_the_smallest_share_of_normal_values():
    noise = np.random.default_rng(0)
    normal = [noise.normal(5.0, 2.0, (40, 32, 32)), noise.exponential(size=(40, 16, 16))]
    reference = OVER_MAPS["max_p"].reference
    known = reference.reduce(reference.of_images([jnp.asarray(m, jnp.float32) for m in normal]))
    for i, (values, least) in enumerate(zip(normal, (6e-5, 2e-4), strict=True)):
        for share in (0.5, 0.1, 0.01, 0.001):
            at = np.quantile(values, 1 - share)
            maps = [jnp.full((1, 4, 4), float(m.min())) for m in normal]
            maps[i] = jnp.full((1, 4, 4), at, jnp.float32)
            got = OVER_MAPS["max_p"].combine(maps, (4, 4), known)
            np.testing.assert_allclose(10.0 ** -np.asarray(got), share, 0.03, least)
    # Above all that was seen it goes on, without an end.
    far = [jnp.full((1, 4, 4), 100.0), jnp.zeros((1, 4, 4))]
    farther = [jnp.full((1, 4, 4), 200.0), jnp.zeros((1, 4, 4))]
    near, beyond = (OVER_MAPS["max_p"].combine(m, (4, 4), known)[0, 0, 0] for m in (far, farther))
    assert 5.0 < near < beyond


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_kth_largest_equals_a_sort(count):
    noise = np.random.default_rng(count)
    values = np.float32(noise.standard_normal((5, 100)) * 10.0 ** noise.integers(-30, 30, (5, 1)))
    values[1] = np.round(values[1])  # Ties.
    values[2, ::3], values[3, ::2] = 0.0, -0.0
    values[4, :5] = [np.inf, -np.inf, 1e-45, -1e-45, 0.0]
    expected = np.sort(values, 1)[:, -count]
    np.testing.assert_array_equal(kth_largest(jnp.asarray(values), count), expected)


def test_the_top_of_a_map_is_the_mean_of_its_highest_hundredth():
    noise = np.random.default_rng(0)
    for values in (noise.standard_normal((3, 20, 30)), noise.integers(0, 3, (3, 20, 30))):
        expected = np.sort(values.reshape(3, -1), 1)[:, -6:].mean(1)
        np.testing.assert_allclose(top_mean(jnp.asarray(values, jnp.float32)), expected, 1e-6)
    tiny = jnp.asarray([[[1.0, 3.0]]])
    np.testing.assert_array_equal(top_mean(tiny), [3.0])


def test_median_top_does_not_see_a_level_that_all_pixels_share():
    noise = np.random.default_rng(0)
    maps = jnp.asarray(noise.standard_normal((2, 20, 30)), jnp.float32)
    over = OVER_POSITIONS["median_top"].of_maps
    expected = np.asarray(top_mean(maps)) - np.median(np.asarray(maps).reshape(2, -1), 1)
    np.testing.assert_allclose(over(maps), expected, 0, 0.02)
    np.testing.assert_allclose(over(maps + 8.0), over(maps), 0, 1e-5)


def test_nfa_bounds_the_binomial_tail_at_the_level_where_it_is_least():
    noise = np.random.default_rng(0)
    p_values = noise.uniform(size=(3, 40, 40))
    p_values[1, :5, :5] = 1e-5
    p_values[2, :2, :2] = 1e-5
    got = np.asarray(nfa(jnp.asarray(-np.log10(p_values), jnp.float32)))
    levels = np.linspace(0.5, 6.0, 23)
    for score, values in zip(got, p_values, strict=True):
        reached = [(values <= 10.0**-level * (1 + 1e-6)).sum() for level in levels]
        exact = min(
            stats.binom.logsf(k - 1, 1600, 10.0**-level)
            for k, level in zip(reached, levels, strict=True)
        )
        assert score <= -exact / np.log(10) - np.log10(23) + 1e-3  # Chernoff's bound is above.
    assert got[0] < 2.0 < got[2] < got[1]


@pytest.mark.parametrize(
    "name", ["density", "nll-density", "nll-top-calibrated", "cflow-calibrated", "", "nll-"]
)
def test_unknown_score_names_the_choices(latents, name):
    message = (
        "^score must be one of probability, nll, .*, msflow_sum, then -calibrated, -weighted or "
        "-max_p, then -top, -top3, -mean, -median_top or -nfa; got"
    )
    with pytest.raises(ValueError, match=message):
        anomaly_map(latents, (8, 8), name)
    assert name not in LatentMeanings()


def test_nfa_of_what_is_no_p_value_is_refused():
    with pytest.raises(ValueError, match="nfa reads p-values; nll-max_p-nfa gives them"):
        score_named("nll-calibrated-nfa")


def test_a_name_says_what_is_done():
    meanings = LatentMeanings()
    assert set(meanings) == set(SCORES)
    said = meanings["nll-calibrated-median_top"]
    assert said.startswith(meanings["nll"])
    assert "Over the maps: each map in standard deviations" in said
    assert said.endswith(
        "An image's score: how far the highest hundredth of its map lies above the map's median."
    )
    assert learned_name("nll-max_p-nfa") == learned_name("nll-max_p") == "nll-max_p_reference"
