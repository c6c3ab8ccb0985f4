"""An encoder of a function: its maps, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.encoders import ENCODERS, function_encoder, load_encoder
from jaxflow.errors import InputError


def pooled(weights, images):
    """Give maps of strides 2 and 4."""
    mixed = images @ weights
    return mixed[:, ::2, ::2], mixed[:, ::4, ::4, :1]


def make(scale=1.0):
    weights = jnp.asarray(scale * np.random.default_rng(0).standard_normal((3, 5)), jnp.float32)
    return function_encoder("pooled", pooled, weights, input_size=32)


def test_maps_are_those_of_the_function_and_of_the_sizes_announced():
    encoder = make()
    images = np.random.default_rng(1).integers(0, 256, (2, 18, 13, 3), np.uint8)
    maps = jax.jit(encoder)(encoder.variables, images)
    assert (encoder.channels, encoder.strides) == ((5, 1), (2, 4))
    assert [m.shape[1:3] for m in maps] == list(encoder.map_sizes((18, 13)))
    for got, expected in zip(maps, pooled(encoder.variables, images / 255.0), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_hash_is_that_of_the_variables():
    assert make().sha256 == make().sha256 != make(2.0).sha256
    assert make().sha256 != function_encoder("none", lambda v, x: (x,)).sha256


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda v, x: x, "must give a tuple of maps"),
        (lambda v, x: (), "must give a tuple of maps"),
        (lambda v, x: (x.mean((1, 2)),), "must give a tuple of maps"),
        (lambda v, x: (x[:, 1:-1, 1:-1],), r"must be \[1, 32, 32, c\], got \[1, 30, 30, 3\]"),
        (lambda v, x: (x[:, ::2],), r"must be \[1, 16, 16, c\], got \[1, 16, 32, 3\]"),
    ],
)
def test_a_function_that_gives_no_maps_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function_encoder("wrong", function, input_size=32)


def test_an_entry_takes_its_own_options(monkeypatch):
    monkeypatch.setitem(ENCODERS, "pooled", make)
    assert load_encoder("pooled", scale=2.0).sha256 == make(2.0).sha256
    with pytest.raises(InputError, match=r"no option 'scales'; did you mean scale\?"):
        load_encoder("pooled", scales=2.0)
    takes = "it takes input_scales, neighbourhood, pooled, scale"
    with pytest.raises(InputError, match=f"no option 'weights'; {takes}"):
        load_encoder("pooled", weights="random")


def test_an_entry_that_makes_no_encoder_is_named(monkeypatch):
    monkeypatch.setitem(ENCODERS, "wrong", lambda: 3)
    with pytest.raises(InputError, match="encoder wrong: its entry must return an Encoder, got 3"):
        load_encoder("wrong")
