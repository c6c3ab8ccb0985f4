"""The mean over a neighbourhood of each map, whatever the encoder."""

import numpy as np
import pytest

from jaxflow.detectors import MemoryBank
from jaxflow.encoders import ENCODERS, function_encoder, load_encoder
from jaxflow.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    def make():
        def maps(variables, x):
            return x[:, ::2, ::2], x[:, ::4, ::4, :2]

        return function_encoder("small", maps, input_size=16)

    monkeypatch.setitem(ENCODERS, "small", make)


@pytest.mark.parametrize("side", [3, 5])
def test_each_position_is_the_mean_of_those_that_exist_around_it(side):
    plain, averaged = load_encoder("small"), load_encoder("small", neighbourhood=side)
    assert averaged.map_sizes((12, 16)) == plain.map_sizes((12, 16))
    maps = zip(plain({}, IMAGES), averaged({}, IMAGES), strict=True)
    for before, after in maps:
        assert after.shape == before.shape
        for row, column in np.ndindex(before.shape[1:3]):
            low, left = max(0, row - side // 2), max(0, column - side // 2)
            window = before[:, low : row + side // 2 + 1, left : column + side // 2 + 1]
            np.testing.assert_allclose(after[:, row, column], window.mean((1, 2)), rtol=1e-5)


def test_a_neighbourhood_of_1_changes_nothing():
    for a, b in zip(
        load_encoder("small")({}, IMAGES),
        load_encoder("small", neighbourhood=1)({}, IMAGES),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_it_equals_the_memory_banks_own():
    plain, averaged = load_encoder("small"), load_encoder("small", neighbourhood=3)
    own = MemoryBank(plain, unit=False, neighbourhood=3)._patches(plain({}, IMAGES))
    encoders = MemoryBank(averaged, unit=False)._patches(averaged({}, IMAGES))
    np.testing.assert_array_equal(own, encoders)


def test_timms_encoders_take_it():
    encoder = load_encoder("resnet18", stages=(1,), weights="random", neighbourhood=3)
    assert encoder.neighbourhood == 3


@pytest.mark.parametrize("side", [0, 2, -3, 1.5, True, "3"])
def test_a_square_that_has_no_middle_is_refused(side):
    with pytest.raises(InputError, match="encoder small: neighbourhood must be odd and positive"):
        load_encoder("small", neighbourhood=side)


def test_an_option_that_is_nearly_named_so_is_answered_with_it():
    with pytest.raises(InputError, match="did you mean neighbourhood"):
        load_encoder("small", neighborhood=3)


def test_an_encoder_cannot_have_its_own_of_that_name(monkeypatch):
    monkeypatch.setitem(ENCODERS, "own", lambda neighbourhood=1: None)
    with pytest.raises(InputError, match="encoder own: every encoder takes neighbourhood"):
        load_encoder("own")
