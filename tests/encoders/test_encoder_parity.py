"""Feature maps equal timm's, for the same weights and images."""

import jax
import numpy as np
import pytest

from jaxflow.encoders import ENCODERS, load_encoder


def blocks(first, last):
    return tuple(f"blocks.{i}." for i in range(first, last))


EFFICIENTNET = (*blocks(4, 7), "conv_head.", "bn2.", "classifier.")
# What is not read need not be drawn: it only costs time.
CASES = {
    "resnet18": (),
    "wide_resnet50_2": ("layer4.", "fc."),
    "mobilenetv3_large_100": (),
    "deit_tiny": (),
    "deit_tiny_other_size": (),
    "cait_xxs24": (),
    "cait_xxs24_other_size": (),
    "dinov2_small": blocks(3, 12),
    "dinov2_small_reg4": blocks(2, 12),
    "dinov3_small": blocks(3, 12),
    "efficientnet_b4": EFFICIENTNET,
    "tf_efficientnet_b5": EFFICIENTNET,
}


def relative_error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("fixture", CASES)
def test_maps_and_their_sizes_equal_timm(fixture, reference, tmp_path):
    ref = reference(fixture)
    path = ref.write_weights(tmp_path / "weights.safetensors", CASES[fixture])
    encoder = load_encoder(ref.name, stages=ref.stages, weights=path)
    with jax.default_matmul_precision("highest"):
        maps = jax.jit(encoder)(encoder.variables, ref.images)
    sizes = tuple(ref.maps[stage].shape[1:3] for stage in ref.stages)
    assert encoder.map_sizes(ref.images.shape[1:3]) == sizes
    for stage, got, channels in zip(ref.stages, maps, encoder.channels, strict=True):
        assert got.shape[-1] == channels
        assert relative_error(got[..., :: ref.keep], ref.maps[stage]) < 1e-4


def test_every_encoder_names_stages_that_exist():
    for name, spec in ENCODERS.items():
        assert set(spec.default_stages) <= set(spec.stages), name
        assert spec.input_size % spec.size_multiple == 0, name
