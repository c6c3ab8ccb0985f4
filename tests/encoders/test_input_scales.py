"""An image encoded at several sizes, and maps averaged to one position, whatever the encoder."""

import numpy as np
import pytest

from jaxflow.encoders import ENCODERS, function_encoder, load_encoder
from jaxflow.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 21, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    def make():
        def maps(variables, x):
            return x[:, ::2, ::2], x[:, ::4, ::4, :2]

        return function_encoder("small", maps, input_size=16)

    monkeypatch.setitem(ENCODERS, "small", make)


def test_each_scale_gives_the_maps_of_every_kth_pixel():
    plain, scaled = load_encoder("small"), load_encoder("small", input_scales=(1, 2, 4))
    got = scaled({}, IMAGES)
    expected = [m for k in (1, 2, 4) for m in plain({}, IMAGES[:, ::k, ::k])]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert scaled.channels == (3, 2) * 3
    assert scaled.strides == (2, 4, 4, 8, 8, 16)
    assert scaled.map_sizes((21, 32)) == tuple(m.shape[1:3] for m in got)


def test_a_real_encoder_takes_them_and_its_smallest_image_has_a_position():
    encoder = load_encoder("resnet18", stages=(1,), weights="random", input_scales=(1, 4))
    assert encoder.map_sizes((64, 72)) == ((16, 18), (4, 5))
    with pytest.raises(InputError, match="^input size 12 x 64: too small .* at least 16 x 16"):
        encoder.map_sizes((12, 64))


def test_an_encoder_of_patches_takes_their_multiples_at_every_scale():
    encoder = load_encoder(
        "vit_small_patch16_dinov3", stages=(0,), weights="random", input_scales=(1, 2, 3)
    )
    assert encoder.map_sizes((96, 192)) == ((6, 12), (3, 6), (2, 4))
    with pytest.raises(InputError, match="^input size 64 x 96: .* takes multiples of 96"):
        encoder.map_sizes((64, 96))


@pytest.mark.parametrize("scales", [(), (0, 1), (2, 1), (1, 1), (1, 2.0), (True,), 2, "12"])
def test_scales_that_are_none_are_refused(scales):
    with pytest.raises(InputError, match="^encoder small: input_scales must be whole numbers"):
        load_encoder("small", input_scales=scales)


def test_a_pooled_map_is_the_mean_of_its_positions_at_each_scale():
    wide = load_encoder("small", input_scales=(1, 2))
    pooled = load_encoder("small", input_scales=(1, 2), pooled=True)
    for a, b in zip(wide({}, IMAGES), pooled({}, IMAGES), strict=True):
        assert b.shape == (2, 1, 1, a.shape[-1])
        np.testing.assert_allclose(b[:, 0, 0], a.mean((1, 2)), 1e-5)
    assert pooled.map_sizes((21, 32)) == ((1, 1),) * 4


def test_pooled_is_true_or_false_and_goes_without_a_neighbourhood():
    with pytest.raises(InputError, match="^encoder small: pooled must be True or False, got 1"):
        load_encoder("small", pooled=1)
    with pytest.raises(InputError, match="^encoder small: neighbourhood 3 has no effect with pool"):
        load_encoder("small", pooled=True, neighbourhood=3)
    with pytest.raises(InputError, match="^input size 2 x 32: too small"):
        load_encoder("small", pooled=True).map_sizes((2, 32))
