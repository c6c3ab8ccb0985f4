import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from sklearn.svm import OneClassSVM

from jaxflow.detectors import Detector, KernelDensity, Mixture, OneClassSvm
from jaxflow.detectors.kernels import log_kernel_sum
from jaxflow.encoders import Encoder
from jaxflow.errors import InputError

SIZE, GRID = (16, 24), (4, 6)
CHANNELS, STRIDES = (3, 4), (4, 8)


def encoder(channels=CHANNELS, strides=STRIDES):
    return Encoder(
        name="toy",
        tag=None,
        weights="random",
        sha256=None,
        stages=tuple(range(1, 1 + len(channels))),
        module=types.SimpleNamespace(channels=channels, strides=strides),
        variables={},
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        input_size=32,
    )


ENCODER = encoder()
DETECTORS = {
    "mixture": Mixture(ENCODER, components=3, smoothing=1.0),
    "diagonal mixture": Mixture(ENCODER, components=3, covariance="diagonal", smoothing=1.0),
    "kernel density": KernelDensity(ENCODER, smoothing=1.0),
    "plain kernel density": KernelDensity(ENCODER, whiten=False, exponent=0, smoothing=1.0),
    "pooled kernel density": KernelDensity(ENCODER, pooled=True),
    "svm": OneClassSvm(ENCODER, pooled=False, smoothing=1.0),
    "pooled svm": OneClassSvm(ENCODER),
}
DENSITIES = [name for name in DETECTORS if "svm" not in name]
LOCAL = [name for name in DETECTORS if "pooled" not in name]


def draw_maps(n, seed=0):
    """Draw maps of two kinds of vectors, neither round nor around 0."""
    noise = np.random.default_rng(seed)
    maps = []
    for c, s in zip(CHANNELS, STRIDES, strict=True):
        shape = (n, SIZE[0] // s, SIZE[1] // s, c)
        kind = noise.integers(2, size=shape[:3])[..., None]
        x = noise.standard_normal(shape) @ np.triu(np.full((c, c), 0.7)) + 6.0 * kind + 2.0
        maps.append(x.astype(np.float32))
    return maps


def flat(m):
    return np.asarray(m, np.float64).reshape(-1, m.shape[-1])


@pytest.mark.parametrize("name", DETECTORS)
def test_they_answer_the_contract(name):
    detector: Detector = DETECTORS[name]
    assert detector.objective is None
    assert detector.after == ()
    assert set(detector.scores) <= set(detector.meanings)
    assert (detector.likelihood is not None) == (name in DENSITIES)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_mixture_equals_scikit_learns_in_float64(fit, covariance):
    with jax.enable_x64(True):
        detector = Mixture(ENCODER, components=3, covariance=covariance, exponent=0, vectors=None)
        maps, others = draw_maps(10), draw_maps(2, seed=1)
        variables = fit(detector, maps)
        got = detector.log_prob(variables, [np.asarray(m, np.float64) for m in others])
        seed = int(variables["constants"]["seed"])
        for i, (m, other) in enumerate(zip(maps, others, strict=True)):
            x = flat(m)
            known = GaussianMixture(
                3,
                covariance_type=covariance[:4],
                reg_covar=1e-3 * x.var(0).mean(),
                random_state=seed,
                max_iter=200,
            ).fit(x)
            np.testing.assert_allclose(
                np.ravel(got[i]), known.score_samples(flat(other)), rtol=1e-9
            )


def test_a_kernel_density_equals_scikit_learns_in_float64(fit):
    with jax.enable_x64(True):
        options = {"exponent": 0, "whiten": False, "vectors": None}
        detector = KernelDensity(ENCODER, bandwidth=0.7, **options)
        maps, others = draw_maps(10), draw_maps(2, seed=1)
        variables = fit(detector, maps)
        got = detector.log_prob(variables, [np.asarray(m, np.float64) for m in others])
        for i, (m, other) in enumerate(zip(maps, others, strict=True)):
            known = SklearnKernelDensity(bandwidth=0.7, rtol=1e-12).fit(flat(m))
            np.testing.assert_allclose(
                np.ravel(got[i]), known.score_samples(flat(other)), rtol=1e-9
            )


@pytest.mark.parametrize("pooled", [False, True])
def test_the_svm_equals_scikit_learns_in_float64(fit, pooled):
    with jax.enable_x64(True):
        detector = OneClassSvm(ENCODER, pooled=pooled, smoothing=0)
        maps, others = draw_maps(10), draw_maps(2, seed=1)
        variables = fit(detector, maps)
        others = [np.asarray(m, np.float64) for m in others]
        grids = detector.over_maps(detector.judge, variables, others)
        for i, (m, other) in enumerate(zip(maps, others, strict=True)):
            if pooled:
                m, other = m.mean((1, 2)), other.mean((1, 2))
            known = OneClassSVM(nu=0.1, tol=1e-6).fit(flat(m))
            rho = -known.intercept_[0]
            expected = np.log(rho) - np.log(known.decision_function(flat(other)) + rho)
            np.testing.assert_allclose(np.ravel(grids[i]), expected, rtol=1e-4, atol=1e-4)


def test_kernels_are_added_in_blocks_as_at_once():
    noise = np.random.default_rng(0)
    with jax.enable_x64(True):
        vectors = 5.0 + noise.standard_normal((9001, 3))
        queries = 5.0 + noise.standard_normal((7, 3))
        weights = noise.standard_normal(9001)
        got = log_kernel_sum(jnp.asarray(queries), jnp.asarray(vectors), jnp.asarray(weights), 4.0)
        squares = distance.cdist(queries, vectors, "sqeuclidean")
        expected = np.log(np.exp(weights - 2.0 * squares).sum(1))
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_no_kernels_are_refused():
    none = jnp.zeros((0, 3))
    with pytest.raises(ValueError, match="vectors must be at least 1, got 0"):
        log_kernel_sum(none, none, jnp.zeros(0), 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"detector": Mixture, "components": 3, "exponent": 0.3},
        {"detector": Mixture, "components": 3, "covariance": "diagonal", "exponent": 0},
        {"detector": KernelDensity, "exponent": 0.3},
        {"detector": KernelDensity, "whiten": False, "exponent": 0},
    ],
    ids=str,
)
def test_a_density_integrates_to_one(fit, options):
    kind, options = options["detector"], {k: v for k, v in options.items() if k != "detector"}
    with jax.enable_x64(True):
        one = kind(encoder((2,), (4,)), vectors=300, **options)
        maps = [draw_maps(10)[0][..., :2]]
        variables = fit(one, maps)
        # The middles of squares: at 0 itself r has no density.
        sides = [np.linspace(-59.95, 69.95, 1300)] * 2
        points = np.stack(np.meshgrid(*sides, indexing="ij"), -1)
        # An image for each row of points, for the memory's sake.
        log_p = one.log_prob(variables, [points[:, None]])[0]
        area = (sides[0][1] - sides[0][0]) ** 2
        np.testing.assert_allclose(np.exp(log_p).sum() * area, 1.0, atol=2e-2)


@pytest.mark.parametrize("name", DENSITIES)
def test_the_likelihood_is_the_mean_over_all_numbers_of_all_maps(fit, name):
    detector, others = DETECTORS[name], draw_maps(2, seed=1)
    variables = fit(detector, draw_maps(12))
    found = detector.log_prob(variables, others)
    sizes = [1 if detector.pooled else m[0, ..., 0].size for m in others]
    count = sum(size * c for size, c in zip(sizes, CHANNELS, strict=True))
    expected = [-sum(float(each[i].sum()) for each in found) / count for i in range(2)]
    got = detector.likelihood.nats(variables, others)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert detector.likelihood.instead == ("averages of the maps" if detector.pooled else "")


def test_the_bandwidth_is_the_likeliest_by_other_images(fit):
    """Vectors of one image are alike: among themselves they would take no bandwidth at all."""
    maps, others = draw_maps(12), draw_maps(12, seed=1)
    for each in (maps, others):
        for m in each:
            m[:] = m[:, :1, :1]
    with jax.enable_x64(True):
        options = {"exponent": 0, "whiten": False, "vectors": None}
        chosen = fit(KernelDensity(ENCODER, **options), maps)["constants"]
        nats = {}
        for factor in (0.5, 1.0, 2.0):
            total = 0.0
            for i, (m, other) in enumerate(zip(maps, others, strict=True)):
                bandwidth = factor * float(chosen[f"map_{i}"]["bandwidth"])
                known = SklearnKernelDensity(bandwidth=bandwidth).fit(flat(m))
                total += known.score_samples(flat(other)).sum()
            nats[factor] = total
        assert max(nats, key=nats.get) == 1.0
        assert all(float(chosen[f"map_{i}"]["bandwidth"]) > 0.1 for i in range(2))


@pytest.mark.parametrize("name", DETECTORS)
def test_an_image_is_scored_the_same_in_any_batch(fit, name):
    detector, others = DETECTORS[name], draw_maps(32, seed=1)
    variables = fit(detector, draw_maps(12))
    score = jax.jit(detector.score, static_argnums=2)
    (together,) = score(variables, others, SIZE).values()
    for i in (0, 31):
        (single,) = score(variables, [m[i : i + 1] for m in others], SIZE).values()
        for a, b in zip(single, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_learned_does_not_depend_on_the_batches(fit, name):
    detector, maps = DETECTORS[name], draw_maps(12)
    known, other = fit(detector, maps), fit(detector, maps, sizes=(1,) * 12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), known, other)


@pytest.mark.parametrize("name", DETECTORS)
def test_init_gives_the_final_arrays_but_for_their_number(fit, name):
    detector = DETECTORS[name]
    before, after = detector.init(jax.random.key(0), SIZE), fit(detector, draw_maps(12))
    assert jax.tree.map(lambda a: (a.shape[1:], a.dtype), before) == jax.tree.map(
        lambda a: (a.shape[1:], a.dtype), after
    )
    assert before["params"] == {}
    assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(after))


@pytest.mark.parametrize("name", LOCAL)
def test_a_defect_stands_out_where_it_is(fit, name):
    detector, others = DETECTORS[name], draw_maps(2, seed=1)
    others[0][1, 2, 4] = [-9.0, 14.0, -9.0]
    others[1][1, 1, 2] = [-9.0, 14.0, -9.0, 14.0]
    variables = fit(detector, draw_maps(12))
    (scored,) = detector.score(variables, others, SIZE).values()
    assert scored.anomaly_score[1] > scored.anomaly_score[0]
    row, column = np.unravel_index(scored.anomaly_map[1].argmax(), SIZE)
    assert abs(row // 4 - 2) <= 1
    assert abs(column // 4 - 4) <= 1


@pytest.mark.parametrize("name", ["pooled kernel density", "pooled svm"])
def test_a_pooled_one_knows_no_positions(fit, name):
    detector = DETECTORS[name]
    variables = fit(detector, draw_maps(12))
    (scored,) = detector.score(variables, draw_maps(2, seed=1), SIZE).values()
    pixels = np.asarray(scored.anomaly_map).reshape(2, -1)
    np.testing.assert_allclose(pixels.min(1), pixels.max(1), rtol=1e-4, atol=1e-5)
    assert abs(pixels[0, 0] - pixels[1, 0]) > 1e-3


def test_no_more_vectors_are_kept_than_asked_for(fit):
    detector = KernelDensity(ENCODER, vectors=50)
    constants = fit(detector, draw_maps(12))["constants"]
    assert constants["map_0"]["kernels"].shape == (50, 3)
    assert constants["map_1"]["kernels"].shape == (50, 4)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Mixture, {"scores": ("svm",)}, "score must be one of nll, got 'svm'"),
        (Mixture, {"components": 0}, "components must be at least 1, got 0"),
        (Mixture, {"covariance": "tied"}, "covariance must be one of full, diagonal, got 'tied'"),
        (Mixture, {"regularization": 0.0}, "regularization must be"),
        (Mixture, {"vectors": 0}, "vectors must be at least 1, got 0"),
        (Mixture, {"exponent": 1.0}, "exponent must be"),
        (KernelDensity, {"bandwidth": 0.0}, "bandwidth must be"),
        (KernelDensity, {"smoothing": -1.0}, "smoothing must be"),
        (OneClassSvm, {"nu": 0.0}, "nu must be above 0 and at most 1, got 0.0"),
        (OneClassSvm, {"gamma": 0.0}, "gamma must be"),
    ],
)
def test_wrong_options_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        kind(ENCODER, **options)


@pytest.mark.parametrize(
    ("detector", "images", "message"),
    [
        (Mixture(ENCODER, components=100), 2, "mixture: 100 components need as many vectors"),
        (KernelDensity(ENCODER), 1, "kernel density: 24 vectors of 1 normal images; expected"),
        (OneClassSvm(ENCODER), 1, "one-class SVM: 1 vectors of 1 normal images; expected"),
    ],
    ids=["mixture", "kernel density", "svm"],
)
def test_too_few_vectors_are_one_line(fit, detector, images, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        fit(detector, draw_maps(images))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DETECTORS)
def test_vectors_that_are_all_the_same_are_one_line(fit, name):
    same = [np.ones_like(m) for m in draw_maps(12)]
    with pytest.raises(InputError, match="same|differ") as caught:
        fit(DETECTORS[name], same)
    assert "\n" not in str(caught.value)
