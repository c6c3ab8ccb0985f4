r"""An encoder of your own: any function from images to feature maps, such as Gabor filters.

    python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/gabor \
        --plugin=examples/gabor_encoder.py --config.encoder.name=gabor \
        --config.encoder.options.directions=12
    python -m jaxflow.evaluate --workdir=runs/gabor --plugin=examples/gabor_encoder.py

The parameters of `gabor` can be chosen: as keys of `config.encoder` where it has them, else as keys
of `config.encoder.options`. A run keeps the SHA-256 of the filters, as it does of trained weights.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.encoders import ENCODERS, function_encoder


def bank(directions, wavelength):
    """Return pairs of even and odd Gabor filters f32[side, side, 1, 2 * directions]."""
    side = np.arange(-wavelength, wavelength + 1)
    angles = np.pi * np.arange(directions) / directions
    along = side[:, None, None] * np.sin(angles) + side[None, :, None] * np.cos(angles)
    window = np.exp(-2 * (side[:, None] ** 2 + side**2) / wavelength**2)[..., None]
    waves = window * np.exp(2j * np.pi * along / wavelength)
    waves -= window * waves.sum((0, 1)) / window.sum()  # Blind to the mean brightness.
    return np.concatenate([waves.real, waves.imag], -1)[:, :, None].astype(np.float32)


def energies(banks, images):
    """Return for each bank the energy in each direction, at half a wavelength's distance."""
    gray, maps = images.mean(-1, keepdims=True), []
    for filters in banks:
        stride = filters.shape[0] // 4
        even_and_odd = jax.lax.conv_general_dilated(
            gray, filters, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        even, odd = jnp.split(even_and_odd, 2, -1)
        maps.append(jnp.sqrt(even**2 + odd**2 + 1e-6))
    return tuple(maps)


def gabor(directions=8, wavelengths=(4, 8)):
    """Return the encoder with a map for each wavelength, in pixels."""
    return function_encoder("gabor", energies, [bank(directions, each) for each in wavelengths])


ENCODERS["gabor"] = gabor
