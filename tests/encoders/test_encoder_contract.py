"""Encoders are pure functions of their variables and images, and refuse bad input in one line."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("resnet18", weights="random")


def draw_images(shape=(2, 50, 36, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_jit_equals_no_jit(encoder):
    images = draw_images()
    plain = encoder(encoder.variables, images)
    jitted = jax.jit(encoder)(encoder.variables, images)
    for a, b in zip(plain, jitted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_uint8_equals_float(encoder):
    images = draw_images()
    run = jax.jit(encoder)
    for a, b in zip(
        run(encoder.variables, images),
        run(encoder.variables, images.astype(np.float32)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_images_are_standardized_with_the_mean_and_std_of_the_weights(encoder):
    # The mean color, standardized, is 0, and so is its stem's output without the bias.
    variables = {"params": jax.tree.map(np.zeros_like, encoder.variables["params"])}
    image = np.tile(255 * np.array(encoder.mean, np.float32), (1, 64, 64, 1))
    bright = image + 255 * np.array(encoder.std, np.float32)
    kernel = np.zeros_like(encoder.variables["params"]["conv1"]["kernel"])
    kernel[3, 3, :, 0] = 1.0
    variables["params"]["conv1"]["kernel"] = kernel
    small = encoder(variables, image)[0]
    large = encoder(variables, bright)[0]
    np.testing.assert_allclose(small, 0, atol=1e-5)
    np.testing.assert_allclose(large[..., 0], 3, atol=1e-5)


def test_non_square_maps_have_the_sizes_and_channels_announced(encoder):
    maps = encoder(encoder.variables, draw_images((1, 70, 37, 3)))
    sizes = encoder.map_sizes((70, 37))
    assert [m.shape for m in maps] == [
        (1, *size, c) for size, c in zip(sizes, encoder.channels, strict=True)
    ]
    assert all(m.dtype == jnp.float32 for m in maps)


def test_maps_do_not_depend_on_the_other_images(encoder):
    images = draw_images((3, 40, 40, 3))
    run = jax.jit(encoder)
    alone = run(encoder.variables, images[1:2])
    together = run(encoder.variables, images)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-4)


def test_float64_agrees_with_float32(encoder):
    images = draw_images((1, 32, 32, 3))
    with jax.enable_x64(True):
        double = load_encoder("resnet18", weights="random", dtype=jnp.float64)
        expected = [np.asarray(m) for m in double(encoder.variables, images)]
    for a, b in zip(encoder(encoder.variables, images), expected, strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


def test_random_features_have_a_sane_scale_at_every_stage():
    encoder = load_encoder("resnet18", stages=(1, 2, 3, 4), weights="random", seed=3)
    assert encoder.sha256 is None
    # Shades that vary slowly, with noise: nothing like what the weights were normalized on.
    ramp = np.linspace(60, 200, 96)[:, None, None] + np.linspace(-40, 40, 96)[None, :, None]
    images = ramp + np.random.default_rng(1).normal(0, 15, (4, 96, 96, 3))
    for features in encoder(encoder.variables, images.astype(np.float32)):
        assert 0.2 < float(features.std()) < 5.0
        # Channels differ and react: few are dead.
        assert float((features.std((0, 1, 2)) > 0.01).mean()) > 0.9


def test_random_weights_are_a_function_of_the_seed():
    first, again, other = (
        load_encoder("resnet18", stages=(1,), weights="random", seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_equal(first.variables, again.variables)
    kernel = first.variables["params"]["conv1"]["kernel"]
    assert np.abs(kernel - other.variables["params"]["conv1"]["kernel"]).max() > 0.1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "resnet19"}, "'resnet19': does not exist, expected one of resnet18, "),
        ({"stages": (1, 5)}, r"stages \[1, 5\] do not all exist, expected some of 1 to 4"),
        ({"stages": ()}, r"stages \[\] do not all exist"),
        ({"stages": (2, 1)}, r"stages \[2, 1\] must be in increasing order"),
        ({"stages": (2, 2)}, r"stages \[2, 2\] must be in increasing order"),
        ({"tag": "in22k"}, "no tag 'in22k', expected one of tv_in1k, a1_in1k"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    arguments = {"name": "resnet18", "weights": "random"} | kwargs
    with pytest.raises(InputError, match=message):
        load_encoder(arguments.pop("name"), **arguments)


def test_input_that_is_too_small_is_refused(encoder):
    encoder.check_input_size((16, 16))
    with pytest.raises(InputError, match="16 x 15: too small for resnet18 .* at least 16 x 16"):
        encoder.map_sizes((16, 15))


def test_images_of_a_wrong_shape_are_refused(encoder):
    with pytest.raises(ValueError, match=r"must be \[b, h, w, 3\], got \[2, 50, 36, 1\]"):
        encoder(encoder.variables, draw_images((2, 50, 36, 1)))


def test_importing_the_encoders_imports_nothing_that_they_do_not_need():
    heavy = (
        "optax orbax tensorflow_datasets grain ml_collections matplotlib torch huggingface_hub "
        "distrax sklearn"
    ).split()
    program = f"import sys, jaxflow.encoders; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
