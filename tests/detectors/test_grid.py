import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxflow.detectors.grid import align, check_smoothing, smooth, to_pixels, upsample


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_align_puts_the_channels_of_all_maps_on_the_first_grid():
    fine, coarse = draw(2, 4, 6, 3), draw(2, 2, 3, 5)
    got = align([fine, coarse])
    assert got.shape == (2, 4, 6, 8)
    np.testing.assert_array_equal(got[..., :3], fine)
    for c in range(5):
        np.testing.assert_allclose(got[..., 3 + c], upsample(coarse[..., c], (4, 6)), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 4.0])
def test_smooth_equals_scipy(sigma):
    maps = draw(2, 20, 9)
    expected = [ndimage.gaussian_filter(m, sigma) for m in maps]
    np.testing.assert_allclose(smooth(jnp.asarray(maps), sigma), expected, atol=1e-6)


def test_a_constant_stays_the_same_on_the_way_to_pixels():
    pixels = to_pixels(jnp.full((1, 1, 1), 3.0), (20, 12), 4.0)
    np.testing.assert_allclose(pixels, np.full((1, 20, 12), 3.0), rtol=1e-6)


def test_no_smoothing_is_only_the_resize():
    scores = jnp.asarray(draw(2, 3, 4))
    np.testing.assert_array_equal(to_pixels(scores, (6, 8), 0), upsample(scores, (6, 8)))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "4"])
def test_wrong_smoothing_is_refused(value):
    with pytest.raises(ValueError, match="^smoothing must be a number of at least 0, got"):
        check_smoothing(value)
