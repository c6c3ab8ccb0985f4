import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxflow.detectors import FlowDetector, FlowPyramid
from jaxflow.errors import InputError
from jaxflow.flows import NORMALIZATIONS, AveragePool, FastFlow2D, Whiten
from jaxflow.training import run_passes


@pytest.fixture
def maps():
    noise = np.random.default_rng(2)
    return (3.0 * noise.standard_normal((6, 3, 4, 5)) + noise.standard_normal(5)).astype(np.float32)


def normalize(name, x, variables=None):
    module = NORMALIZATIONS[name]()
    variables = module.init(jax.random.key(0), x) if variables is None else variables
    return module.apply(variables, x, method="forward_and_log_det")


def learn_statistics(*maps, batch=4, normalization="standardize"):
    """Run the pass of a normalizing detector; return the constants of each map."""
    pyramid = FlowPyramid(FastFlow2D(steps=1), len(maps), normalization)
    (each,) = FlowDetector(None, pyramid).before
    variables = {"params": {}, "constants": {"flows_0": {}}}
    batches = []
    for start in range(0, len(maps[0]), batch):
        part = [m[start : start + batch] for m in maps]
        filled = [np.concatenate([p, np.repeat(p[-1:], batch - len(p), 0)]) for p in part]
        batches.append((filled, np.arange(batch) < len(part[0])))
    learned = run_passes([each], {"last": variables}, batches)["last"]["constants"]
    assert "flows_0" in learned
    return [learned[f"normalizations_{i}"] for i in range(len(maps))]


def test_none_leaves_the_map(maps):
    got, log_det = normalize("none", maps)
    np.testing.assert_array_equal(got, maps)
    np.testing.assert_array_equal(log_det, np.zeros(maps.shape[:3]))


@pytest.mark.parametrize("name", ["layer_norm", "layer_norm_affine"])
def test_layer_norm_equals_numpy_and_counts_no_log_det(maps, name):
    got, log_det = normalize(name, maps)
    mean, var = maps.mean((1, 2, 3), keepdims=True), maps.var((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(got, (maps - mean) / np.sqrt(var + 1e-5), 1e-4, 1e-5)
    np.testing.assert_array_equal(log_det, np.zeros(maps.shape[:3]))


def test_affine_scales_and_shifts_every_position(maps):
    plain, _ = normalize("layer_norm", maps)
    noise = np.random.default_rng(3)
    scale, offset = (noise.standard_normal((3, 4, 5)).astype(np.float32) for _ in range(2))
    got, _ = normalize("layer_norm_affine", maps, {"params": {"scale": scale, "offset": offset}})
    np.testing.assert_allclose(got, plain * scale + offset, 1e-5, 1e-5)


def test_standardize_equals_numpy(maps):
    (constants,) = learn_statistics(maps)
    mean, std = constants["mean"], constants["std"]
    np.testing.assert_allclose(mean, maps.mean((0, 1, 2)), 1e-5)
    np.testing.assert_allclose(std, maps.std((0, 1, 2)), 1e-5)
    got, log_det = normalize("standardize", maps, {"constants": {"mean": mean, "std": std}})
    np.testing.assert_allclose(got, stats.zscore(maps, axis=(0, 1, 2)), 1e-4, 1e-5)
    np.testing.assert_allclose(log_det, np.full(maps.shape[:3], -np.log(std).sum()), 1e-6)


def test_statistics_hold_far_from_zero_and_for_a_constant_channel():
    maps = np.random.default_rng(4).standard_normal((50, 2, 2, 2)).astype(np.float32) + 1000.0
    maps[..., 1] = 3.0
    (constants,) = learn_statistics(maps)
    mean, std = constants["mean"], constants["std"]
    np.testing.assert_allclose(std[0], maps[..., 0].astype(np.float64).std(), 1e-4)
    np.testing.assert_allclose([mean[1], std[1]], [3.0, 1e-5], 1e-6)


def test_whiten_makes_many_normal_maps_standard_normal():
    noise, mix = np.random.default_rng(3), np.random.default_rng(4)
    mixing = mix.standard_normal((2, 3, 4, 4))
    x = np.einsum("hwij,bhwj->bhwi", mixing, noise.standard_normal((4000, 2, 3, 4)))
    maps = (x + mix.standard_normal((2, 3, 4))).astype(np.float32)
    (constants,) = learn_statistics(maps, batch=500, normalization="whiten")
    z, log_det = normalize("whiten", maps, {"constants": constants})
    z = np.asarray(z, np.float64).reshape(4000, 6, 4)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-4)
    for p in range(6):
        # All but a hundredth of each covariance is its own.
        np.testing.assert_allclose(np.cov(z[:, p], rowvar=False), np.eye(4), atol=0.1)
    assert log_det.shape == (4000, 2, 3)


@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if name != "whiten"])
def test_what_knows_no_image_by_itself_leaves_none_out(maps, name):
    module = NORMALIZATIONS[name]()
    variables = module.init(jax.random.key(0), maps)
    plain, left = (
        module.apply(variables, maps, method=method)
        for method in ("forward_and_log_det", "leave_one_out")
    )
    jax.tree.map(np.testing.assert_array_equal, plain, left)


def test_training_sees_whitened_maps_as_new_images_will_be():
    """With fewer images than channels their own whitening makes them far too short."""
    noise = np.random.default_rng(3)
    x = noise.standard_normal((400, 2, 3, 40)) * noise.uniform(0.2, 3.0, (2, 3, 40))
    train, new = x[:30].astype(np.float32), x[30:].astype(np.float32)
    (constants,) = learn_statistics(train, normalization="whiten")
    module = NORMALIZATIONS["whiten"]()
    left, left_log_det = module.apply({"constants": constants}, train, method="leave_one_out")
    lengths = [
        np.square(z).sum(-1).mean()
        for z in (
            normalize("whiten", train, {"constants": constants})[0],
            left,
            normalize("whiten", new, {"constants": constants})[0],
        )
    ]
    assert lengths[0] < 0.75 * lengths[2]
    np.testing.assert_allclose(lengths[1], lengths[2], rtol=0.1)
    assert np.isfinite(left_log_det).all()


def test_an_image_that_cannot_have_been_seen_is_whitened_as_it_is():
    train = np.random.default_rng(3).standard_normal((30, 2, 3, 4)).astype(np.float32)
    (constants,) = learn_statistics(train, normalization="whiten")
    module, far = Whiten(), 100.0 + train[:1]
    plain, left = (
        module.apply({"constants": constants}, far, method=method)
        for method in ("forward_and_log_det", "leave_one_out")
    )
    assert np.square(plain[0]).sum(-1).min() > 30
    jax.tree.map(np.testing.assert_array_equal, plain, left)


@pytest.mark.parametrize("maps", [np.ones((1, 2, 2, 3)), np.ones((5, 2, 2, 3))])
def test_images_without_a_covariance_are_refused(maps):
    with pytest.raises(InputError, match=f"which {len(maps)} normal images do not give: it needs"):
        learn_statistics(maps.astype(np.float32), normalization="whiten")


def test_whiten_names_the_size_that_it_has_learned():
    constants = {
        "mean": np.zeros((2, 3, 4)),
        "whitening": np.broadcast_to(np.eye(4), (2, 3, 4, 4)),
        "images": np.zeros(()),
        "own": np.zeros((2, 3)),
    }
    with pytest.raises(
        ValueError, match=r"^x must be f\[..., 2, 3, 4\], .*, got shape \(1, 4, 3, 4\)"
    ):
        normalize("whiten", np.ones((1, 4, 3, 4), np.float32), {"constants": constants})


@pytest.mark.parametrize("name", ["none", "standardize", "whiten"])
def test_likelihood_is_exact_for_the_encoders_own_features(perturb, name):
    with jax.enable_x64(True):
        flow = FastFlow2D(steps=1, param_dtype=jnp.float64)
        pyramid = FlowPyramid(flow, maps=1, normalization=name)
        x = jax.random.normal(jax.random.key(1), (2, 3, 4), jnp.float64)
        variables = jax.jit(pyramid.init)(jax.random.key(0), [x[None]])
        constants = dict(variables["constants"])
        if name == "standardize":
            mean, std = np.array([0.5, 2.0, 3.0, 0.1]), np.array([0.2, 5.0, 1.5, 0.7])
            constants["normalizations_0"] = {"mean": mean, "std": std}
        if name == "whiten":
            (learned,) = learn_statistics(
                np.random.default_rng(5).normal(2.0, 1.0, (9, 2, 3, 4)), normalization="whiten"
            )
            constants["normalizations_0"] = learned
        variables = {"params": perturb(variables["params"]), "constants": constants}

        @jax.jit
        def latent(x):
            return pyramid.apply(variables, [x[None]], method="latents")[0]

        jacobian = jax.jit(jax.jacobian(lambda x: latent(x).z[0]))(x).reshape(x.size, x.size)
        log_det = np.linalg.slogdet(jacobian)[1]
        expected = stats.norm.logpdf(latent(x).z).sum() + log_det
        np.testing.assert_allclose(latent(x).log_prob().sum(), expected, 1e-9)
        assert abs(log_det) > 0.1


def test_moments_go_to_the_map_they_are_of():
    first, second = np.zeros((4, 2, 2, 2), np.float32), np.zeros((4, 1, 1, 3), np.float32)
    first[:2], second[:2] = 4.0, 8.0
    constants = learn_statistics(first, second, batch=3)
    for each, std, channels in zip(constants, (2.0, 4.0), (2, 3), strict=True):
        np.testing.assert_allclose(each["mean"], np.full(channels, std), 1e-6)
        np.testing.assert_allclose(each["std"], np.full(channels, std), 1e-6)


def test_unknown_normalization_names_the_choices():
    pyramid = FlowPyramid(FastFlow2D(), maps=1, normalization="batch_norm")
    message = (
        "normalization must be one of none, layer_norm, .*, standardize, whiten, average_pool, got"
    )
    with pytest.raises(ValueError, match=message):
        pyramid.init(jax.random.key(0), [jnp.ones((1, 2, 2, 2))])


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (5, 7)])
def test_average_pool_equals_numpy_with_zeros_around(size):
    x = np.random.default_rng(5).standard_normal((2, *size, 3)).astype(np.float32)
    got, log_det = normalize("average_pool", x, {})
    padded = np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
    height, width = (-(-side // 2) for side in size)
    expected = [
        [padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum((1, 2)) / 9 for j in range(width)]
        for i in range(height)
    ]
    np.testing.assert_allclose(got, np.moveaxis(np.asarray(expected), 2, 0), 1e-4, 1e-5)
    np.testing.assert_array_equal(log_det, np.zeros((2, height, width)))
    whole = jnp.ones((2, *size))
    assert AveragePool().carry_forward(whole).shape == (2, height, width)
    assert AveragePool().carry_forward(whole).sum() == whole.sum()
