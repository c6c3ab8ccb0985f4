import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance
from sklearn.covariance import OAS, LedoitWolf

from jaxflow.detectors import Detector
from jaxflow.detectors.covariance import Moments, central, fit_gaussians, shrink
from jaxflow.detectors.gaussian import Gaussian
from jaxflow.encoders import Encoder
from jaxflow.errors import InputError
from jaxflow.flows import Whiten, position_log_prob

SIZE = (16, 24)
CHANNELS, STRIDES = (3, 4), (4, 8)


def encoder(channels=CHANNELS, strides=STRIDES):
    return Encoder(
        name="toy",
        tag=None,
        weights="random",
        sha256=None,
        stages=tuple(range(1, len(channels) + 1)),
        module=types.SimpleNamespace(channels=channels, strides=strides),
        variables={},
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        input_size=32,
    )


def draw_maps(n, seed=0, offset=0.0, dtype=np.float32):
    """Draw maps of n images whose channels are correlated."""
    noise = np.random.default_rng(seed)
    mix = np.random.default_rng(99)
    maps = []
    for c, s in zip(CHANNELS, STRIDES, strict=True):
        x = noise.standard_normal((n, SIZE[0] // s, SIZE[1] // s, c))
        maps.append((x @ mix.standard_normal((c, c)) + offset).astype(dtype))
    return maps


def vectors_of(detector, variables, maps):
    """Give the aligned vectors that the detector sees, f[n, h, w, c]."""
    return np.asarray(detector._vectors(variables, maps)[0])


def shortened(x, exponent):
    """Give x / |x|^exponent and the log-determinant of that map at each position, by numpy."""
    norm = np.linalg.norm(x, axis=-1)
    log_det = np.log1p(-exponent) - exponent * x.shape[-1] * np.log(norm)
    return x / norm[..., None] ** exponent, log_det


def covariances(vectors, shrinkage=0.01):
    """Give the mean and covariance of each position by numpy."""
    n, h, w, c = vectors.shape
    flat = vectors.astype(np.float64).reshape(n, h * w, c)
    ridge = shrinkage * np.eye(c)
    return flat.mean(0), [np.cov(flat[:, p], rowvar=False) + ridge for p in range(h * w)]


def test_it_answers_the_contract():
    detector: Detector = Gaussian(encoder())
    assert detector.objective is None
    assert detector.after == ()
    assert set(detector.scores) <= set(detector.meanings)


def test_each_position_has_the_mean_and_covariance_of_numpy(fit):
    detector, maps = Gaussian(encoder(), exponent=0, shrinkage=0.01), draw_maps(20)
    variables = fit(detector, maps)
    got = variables["constants"]["gaussian_0"]
    mean, covariance = covariances(vectors_of(detector, variables, maps))
    np.testing.assert_allclose(got["mean"].reshape(mean.shape), mean, atol=1e-6)
    whitening = np.asarray(got["whitening"]).reshape(-1, 7, 7)
    for w, s in zip(whitening, covariance, strict=True):
        np.testing.assert_allclose(w @ s @ w.T, np.eye(7), atol=1e-4)
        np.testing.assert_array_equal(w, np.tril(w))


@pytest.mark.parametrize("exponent", [0.0, 0.9])
def test_log_prob_equals_scipy_in_float64(fit, exponent):
    with jax.enable_x64(True):
        detector = Gaussian(encoder(), exponent=exponent, shrinkage=0.01)
        maps = draw_maps(20, dtype=np.float64)
        variables = fit(detector, maps)
        others = draw_maps(3, seed=1, dtype=np.float64)
        got = jax.jit(detector.log_prob)(variables, others)
        assert got.dtype == jnp.float64
        known, _ = shortened(vectors_of(detector, variables, maps), exponent)
        mean, covariance = covariances(known)
        x, log_det = shortened(vectors_of(detector, variables, others).reshape(3, -1, 7), exponent)
        expected = [
            stats.multivariate_normal(mean[p], covariance[p]).logpdf(x[:, p]) + log_det[:, p]
            for p in range(len(mean))
        ]
        np.testing.assert_allclose(got.reshape(3, -1), np.transpose(expected), rtol=1e-9)


def test_pooled_log_prob_equals_scipy_in_float64(fit):
    with jax.enable_x64(True):
        detector = Gaussian(encoder(), pooled=True, exponent=0, shrinkage=0.01)
        maps, others = draw_maps(20, dtype=np.float64), draw_maps(3, seed=1, dtype=np.float64)
        got = detector.log_prob(fit(detector, maps), others)
        expected = 0.0
        for m, o in zip(maps, others, strict=True):
            x = m.mean((1, 2))
            normal = stats.multivariate_normal(
                x.mean(0), np.cov(x, rowvar=False) + 0.01 * np.eye(x.shape[-1])
            )
            expected = expected + normal.logpdf(o.mean((1, 2)))
        np.testing.assert_allclose(got, expected[:, None, None], rtol=1e-9)


def test_one_map_with_all_channels_has_the_likelihood_of_the_features_themselves(fit):
    detector = Gaussian(encoder((3,), (4,)))
    maps = draw_maps(20)[:1]
    variables = fit(detector, maps)
    np.testing.assert_allclose(vectors_of(detector, variables, maps), maps[0])


def test_scores_equal_their_definitions(fit):
    detector = Gaussian(encoder(), exponent=0, shrinkage=0.01, smoothing=0)
    maps, others = draw_maps(20), draw_maps(3, seed=1)
    variables = fit(detector, maps)
    scored = detector.score(variables, others, (4, 6))
    nll = -detector.log_prob(variables, others) / 7
    np.testing.assert_allclose(scored["nll"].anomaly_map, nll, rtol=1e-5)
    mean, covariance = covariances(vectors_of(detector, variables, maps))
    x = vectors_of(detector, variables, others).reshape(3, -1, 7)
    expected = [
        [distance.mahalanobis(each[p], mean[p], np.linalg.inv(covariance[p])) for p in range(24)]
        for each in x
    ]
    got = scored["mahalanobis"].anomaly_map.reshape(3, -1)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    np.testing.assert_allclose(scored["mahalanobis"].anomaly_score, got.max(1))


def test_pooled_distances_of_the_maps_are_added_and_the_same_at_every_pixel(fit):
    detector = Gaussian(encoder(), pooled=True, exponent=0, shrinkage=0.01)
    maps, others = draw_maps(20), draw_maps(3, seed=1)
    scored = detector.score(fit(detector, maps), others, SIZE)["mahalanobis"]
    expected = np.zeros(3)
    for m, o in zip(maps, others, strict=True):
        x, y = m.mean((1, 2)), o.mean((1, 2))
        inverse = np.linalg.inv(np.cov(x, rowvar=False) + 0.01 * np.eye(x.shape[-1]))
        expected += [distance.mahalanobis(each, x.mean(0), inverse) for each in y]
    np.testing.assert_allclose(scored.anomaly_score, expected, rtol=1e-4)
    everywhere = np.broadcast_to(scored.anomaly_score[:, None, None], (3, *SIZE))
    np.testing.assert_allclose(scored.anomaly_map, everywhere, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "estimator"), [("ledoit_wolf", LedoitWolf), ("oas", OAS)], ids=["ledoit_wolf", "oas"]
)
@pytest.mark.parametrize("n", [4, 60])
def test_streamed_shrinkage_equals_scikit_learn(name, estimator, n):
    detector = Gaussian(encoder(), exponent=0, shrinkage=name)
    maps = draw_maps(n, offset=5.0)
    variables = detector.init(jax.random.key(0), SIZE)
    (step,) = detector.before
    carry = step.start(variables)
    for batch in range(0, n, 7):
        part = [m[batch : batch + 7] for m in maps]
        carry = step.update(variables, carry, part, np.ones(len(part[0]), bool))
    (moments,) = carry
    vectors = vectors_of(detector, variables, maps).astype(np.float64)
    for place in np.ndindex(4, 6):
        mean, scatter, fourth = central(moments, place)
        np.testing.assert_allclose(mean, vectors[:, *place].mean(0), rtol=1e-12)
        got = shrink(scatter, fourth, moments.n, name)[0]
        expected = estimator().fit(vectors[:, *place]).covariance_
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["ledoit_wolf", "oas"])
def test_shrinkage_weights_hold_at_their_ends(name):
    # A multiple of the identity, and vectors of which nothing is left after the mean.
    n = 10
    np.testing.assert_allclose(shrink(n * np.eye(3), 0.0, n, name)[0], np.eye(3))
    np.testing.assert_array_equal(shrink(np.zeros((3, 3)), 0.0, n, name)[0], np.zeros((3, 3)))


def test_shared_shrinkage_equals_a_plain_reference(fit):
    n = 12
    detector, maps = Gaussian(encoder(), exponent=0), draw_maps(n)
    variables = fit(detector, maps)
    x = vectors_of(detector, variables, maps).astype(np.float64).reshape(n, 24, 7)
    d = x - x.mean(0)
    of_vectors = np.einsum("npi,npj->npij", d, d)
    own = of_vectors.mean(0)
    shared = own.mean(0)
    noise = np.square(of_vectors - own).sum() / n**2
    weight = noise / np.square(own - shared).sum()
    assert 0.1 < weight < 0.9
    a, mu = np.square(shared).mean(), np.trace(shared) / 7
    identity = (a + mu**2) / ((24 * n + 1) * (a - mu**2 / 7))
    shared = (1 - identity) * shared + identity * mu * np.eye(7)
    expected = (1 - weight) * own + weight * shared
    whitening = np.asarray(variables["constants"]["gaussian_0"]["whitening"]).reshape(24, 7, 7)
    for w, s in zip(whitening, expected, strict=True):
        np.testing.assert_allclose(w @ s @ w.T, np.eye(7), atol=1e-3)


def test_shared_shrinkage_of_one_position_is_that_of_oas(fit):
    maps = draw_maps(9)
    one, other = (
        fit(Gaussian(encoder(), pooled=True, shrinkage=each), maps) for each in ("shared", "oas")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)


@pytest.mark.parametrize("shrinkage", [0.01, "ledoit_wolf", "oas", "shared"])
def test_leaving_one_out_is_the_gaussian_of_all_others(fit, shrinkage):
    n, image = 12, 5
    with jax.enable_x64(True):
        detector = Gaussian(encoder(), exponent=0.5, shrinkage=shrinkage)
        maps = draw_maps(n, dtype=np.float64)
        variables = fit(detector, maps)
        constants = variables["constants"]["gaussian_0"]
        vectors = vectors_of(detector, variables, maps)
        flow = Whiten(exponent=0.5)
        apply = functools.partial(flow.apply, {"constants": constants})
        got = position_log_prob(*apply(vectors[image : image + 1], method="leave_one_out"))
    r, log_det = shortened(vectors.reshape(n, 24, 7), 0.5)
    others = np.delete(r, image, 0)
    own = np.asarray(constants["own"]).reshape(24) / n
    whitening = np.asarray(constants["whitening"]).reshape(24, 7, 7)
    for p in range(24):
        factor = np.linalg.inv(whitening[p])
        everyones, rest = (x[:, p] - x[:, p].mean(0) for x in (r, others))
        left = factor @ factor.T - own[p] * (everyones.T @ everyones - rest.T @ rest)
        normal = stats.multivariate_normal(others[:, p].mean(0), left)
        expected = normal.logpdf(r[image, p]) + log_det[image, p]
        np.testing.assert_allclose(got.reshape(-1)[p], expected, rtol=1e-9)


def test_own_is_what_a_covariance_takes_of_its_own_position(fit):
    n, maps = 12, draw_maps(12)
    for shrinkage in (0.01, "ledoit_wolf", "oas"):
        detector = Gaussian(encoder(), exponent=0, shrinkage=shrinkage)
        variables = fit(detector, maps)
        constants = variables["constants"]["gaussian_0"]
        factor = np.linalg.inv(np.asarray(constants["whitening"], np.float64)).reshape(24, 7, 7)
        x = vectors_of(detector, variables, maps).astype(np.float64).reshape(n, 24, 7)
        own = np.asarray(constants["own"], np.float64).reshape(24)
        for p in range(24):
            left = factor[p] @ factor[p].T - own[p] * np.cov(x[:, p], rowvar=False, bias=True)
            # A multiple of the identity.
            np.testing.assert_allclose(left, left[0, 0] * np.eye(7), atol=1e-4)


def test_covariance_holds_far_from_zero(fit):
    detector, maps = Gaussian(encoder(), exponent=0, shrinkage=0.0), draw_maps(40, offset=1000.0)
    variables = fit(detector, maps)
    _, covariance = covariances(vectors_of(detector, variables, maps), 0.0)
    whitening = np.asarray(variables["constants"]["gaussian_0"]["whitening"]).reshape(-1, 7, 7)
    for w, s in zip(whitening, covariance, strict=True):
        np.testing.assert_allclose(w @ s @ w.T, np.eye(7), atol=1e-3)


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "shared"])
def test_batches_do_not_change_what_is_learned(fit, shrinkage):
    detector, maps = Gaussian(encoder(), shrinkage=shrinkage), draw_maps(20)
    one, other = fit(detector, maps, sizes=(20,)), fit(detector, maps, sizes=(1,) * 20)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


@pytest.mark.parametrize("pooled", [False, True])
def test_an_image_is_scored_the_same_in_any_batch(fit, pooled):
    detector = Gaussian(encoder(), pooled=pooled)
    variables, others = fit(detector, draw_maps(20)), draw_maps(32, seed=1)
    score = jax.jit(detector.score, static_argnums=2)
    together = score(variables, others, SIZE)
    for i in (0, 31):
        single = score(variables, [m[i : i + 1] for m in others], SIZE)
        for name, scored in single.items():
            for a, b in zip(scored, together[name], strict=True):
                np.testing.assert_allclose(a[0], b[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"channels": 5}, {"pooled": True}])
def test_init_gives_the_final_shapes_and_dtypes(fit, options):
    detector = Gaussian(encoder(), **options)
    before = detector.init(jax.random.key(0), SIZE)
    after = fit(detector, draw_maps(20))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), before) == jax.tree.map(
        lambda a: (a.shape, a.dtype), after
    )
    assert before["params"] == {}


def test_channels_are_drawn_by_the_key_and_kept(fit):
    detector = Gaussian(encoder(), channels=5)
    drawn = [
        tuple(detector.init(jax.random.key(seed), SIZE)["constants"]["channels"].tolist())
        for seed in (0, 0, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    for channels in drawn:
        assert len(set(channels)) == 5
        assert list(channels) == sorted(channels)
        assert set(channels) <= set(range(7))
    maps = draw_maps(20)
    variables = fit(detector, maps)
    everything = vectors_of(detector, {"constants": {"channels": np.arange(7)}}, maps)
    kept = everything[..., variables["constants"]["channels"]]
    np.testing.assert_array_equal(vectors_of(detector, variables, maps), kept)


def test_a_defect_stands_out_where_it_is(fit):
    detector = Gaussian(encoder(), smoothing=1.0)
    variables, others = fit(detector, draw_maps(30)), draw_maps(2, seed=1)
    others[0][1, 2, 4] += 20.0
    for scored in detector.score(variables, others, SIZE).values():
        assert scored.anomaly_score[1] > 2 * scored.anomaly_score[0]
        row, column = np.unravel_index(scored.anomaly_map[1].argmax(), SIZE)
        assert (row // 4, column // 4) == (2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("p",)}, "score must be one of mahalanobis, nll, got 'p'"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"channels": 8}, "channels must be at most 7, as many as toy has at stages"),
        ({"channels": 2, "pooled": True}, "channels must be None where pooled"),
        ({"shrinkage": -1.0}, "shrinkage must be a number of at least 0 or one of shared, ledo"),
        ({"shrinkage": "mcd"}, "shrinkage must be .*, got 'mcd'"),
        ({"exponent": 1.0}, "exponent must be a number of at least 0 and below 1, got 1.0"),
        ({"smoothing": -1.0}, "smoothing must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Gaussian(encoder(), **options)


def test_one_image_is_too_few(fit):
    with pytest.raises(InputError, match="^gaussian: a covariance needs at least 2 .*, got 1"):
        fit(Gaussian(encoder()), draw_maps(1))


def test_a_singular_covariance_says_what_to_do(fit):
    with pytest.raises(InputError, match="7 channels over 5 images is singular; set shrinkage"):
        fit(Gaussian(encoder(), shrinkage=0.0), draw_maps(5))


def test_gaussians_follow_the_precision_that_jax_has():
    moments = Moments.start(1, 2, 3)._replace(n=3, shift=np.zeros((1, 2, 3)))
    assert {a.dtype for a in fit_gaussians(moments, 1.0)} == {np.dtype(np.float32)}
    with jax.enable_x64(True):
        assert {a.dtype for a in fit_gaussians(moments, 1.0)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("shrinkage", [0.01, "ledoit_wolf", "oas", "shared"])
def test_positions_that_never_change_are_no_fault(fit, shrinkage):
    detector, maps, others = Gaussian(encoder(), shrinkage=shrinkage), draw_maps(20), draw_maps(1)
    for m in (*maps, *others):
        m[:, :, : m.shape[2] // 3 + 1] = 0.3
    scored = detector.score(fit(detector, maps), others, SIZE)["mahalanobis"]
    assert np.isfinite(scored.anomaly_map).all()
    assert scored.anomaly_map[0, :, 0].max() < scored.anomaly_map[0, :, -1].min()


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", "shared"])
def test_images_that_are_all_the_same_are_refused(fit, shrinkage):
    maps = [np.repeat(m, 5, 0) for m in draw_maps(1)]
    with pytest.raises(InputError, match="is singular; set shrinkage to a number above 0"):
        fit(Gaussian(encoder(), shrinkage=shrinkage), maps)


def test_it_says_what_it_is():
    assert Gaussian(encoder(), channels=5, shrinkage="oas").describe() == (
        "Gaussian: pooled False, channels 5, exponent 0.9, shrinkage oas, smoothing 4.0"
    )
