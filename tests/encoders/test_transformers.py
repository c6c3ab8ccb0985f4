"""Transformer encoders scan over their blocks and take any multiple of the patch size."""

import jax
import numpy as np
import pytest

from jaxflow.encoders import ENCODERS, load_encoder
from jaxflow.encoders.dinov3 import place_rotation, rotate
from jaxflow.encoders.registry import parameter_shapes
from jaxflow.encoders.transformer import resample_positions
from jaxflow.errors import InputError

SMALL = ("deit_tiny_distilled_patch16_224", "cait_xxs24_224")
DINO = (
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
)


@pytest.mark.parametrize("name", [*SMALL, *DINO])
def test_the_program_does_not_grow_with_depth(name):
    def length(stage):
        spec = ENCODERS[name]
        module = spec.build(stages=(stage,))
        image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
        variables = {"params": parameter_shapes(module, spec.input_size)}
        return len(str(jax.make_jaxpr(module.apply)(variables, image)).splitlines())

    # Numbers of blocks of one digit each, or lines would break elsewhere.
    assert length(3) == length(8) > 10


@pytest.mark.parametrize("name", SMALL)
def test_a_map_does_not_depend_on_which_others_are_asked(name, reference, tmp_path):
    ref = reference("deit_tiny" if "deit" in name else "cait_xxs24")
    path = ref.write_weights(tmp_path / "weights.safetensors")
    images = ref.images[:, :64, :96]
    alone = load_encoder(name, stages=(5,), weights=path)
    among = load_encoder(name, stages=(1, 5, 6), weights=path)
    expected = jax.jit(alone)(alone.variables, images)[0]
    got = jax.jit(among)(among.variables, images)[1]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_positions_on_their_own_grid_are_unchanged():
    positions = np.random.default_rng(0).normal(size=(1, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(resample_positions(positions, 3, 3, 3), positions)


def test_constant_positions_stay_constant_on_any_grid():
    positions = np.full((1, 49, 2), 1.5, np.float32)
    for grid in ((3, 5), (7, 14), (20, 4)):
        resampled = resample_positions(positions, 7, *grid)
        assert resampled.shape == (1, grid[0] * grid[1], 2)
        np.testing.assert_allclose(resampled, 1.5, rtol=1e-5)


def test_positions_keep_rows_and_columns_apart():
    # Positions that count their row must, on a wider grid, still count rows only.
    rows = np.repeat(np.arange(4, dtype=np.float32), 4).reshape(1, 16, 1)
    grid = np.asarray(resample_positions(rows, 4, 4, 8)).reshape(4, 8)
    np.testing.assert_allclose(grid, np.arange(4)[:, None] * np.ones(8), atol=1e-5)


def test_dinov2_takes_multiples_of_its_patch_of_14():
    encoder = load_encoder("vit_small_patch14_dinov2", stages=(0,), weights="random")
    assert (encoder.input_size, encoder.strides) == (518, (14,))
    assert encoder.map_sizes((28, 42)) == ((2, 3),)
    with pytest.raises(InputError, match=r"256 x 256: .* multiples of 14, e\.g\. 252 x 252$"):
        encoder.map_sizes((256, 256))


def test_weights_with_registers_are_not_those_without(reference, tmp_path):
    path = reference("dinov2_small_reg4").write_weights(
        tmp_path / "weights.safetensors", [f"blocks.{i}." for i in range(1, 12)]
    )
    with pytest.raises(InputError, match=r"1 keys unknown to the encoder \(reg_token\)"):
        load_encoder("vit_small_patch14_dinov2", stages=(0,), weights=path)


def test_rotations_depend_on_distances_only_and_spare_the_prefix():
    by = place_rotation(2, 4, 5, 8)
    x = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    q, k = (np.asarray(rotate(np.tile(each, (1, 22, 1, 1)), by))[0, :, 0] for each in x)
    np.testing.assert_array_equal(q[:2], np.tile(x[0], (2, 1)))
    products = (q @ k.T)[2:, 2:].reshape(4, 5, 4, 5)
    one_down_two_right = [products[r, c, r + 1, c + 2] for r in range(3) for c in range(3)]
    np.testing.assert_allclose(one_down_two_right, one_down_two_right[0], rtol=1e-4)
    assert np.ptp(products[0, 0]) > 0.1


def test_sizes_that_are_no_multiple_of_the_patch_are_refused_with_the_nearest():
    encoder = load_encoder("deit_tiny_distilled_patch16_224", stages=(0,), weights="random")
    assert encoder.map_sizes((224, 64)) == ((14, 4),)
    with pytest.raises(InputError, match=r"250 x 64: .* multiples of 16, e\.g\. 256 x 64$"):
        encoder.map_sizes((250, 64))
    with pytest.raises(InputError, match="multiples of 16"):
        encoder(encoder.variables, np.zeros((1, 224, 100, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "blocks"), [(SMALL[0], 12), (SMALL[1], 24), ("cait_m48_448", 48), (DINO[2], 12)]
)
def test_a_block_that_does_not_exist_is_refused(name, blocks):
    assert len(ENCODERS[name].stages) == blocks
    with pytest.raises(InputError, match=f"expected some of 0 to {blocks - 1}"):
        load_encoder(name, stages=(blocks,), weights="random")


def test_only_the_blocks_asked_for_are_built():
    def blocks(name):
        spec = ENCODERS[name]
        shapes = parameter_shapes(spec.build(stages=spec.default_stages), spec.input_size)
        return {k: v["norm1"]["scale"].shape[0] for k, v in shapes.items() if "blocks" in k}

    assert blocks("deit_base_distilled_patch16_384") == {"blocks_0_to_7": 8}
    assert blocks("cait_m48_448") == {"blocks_0_to_40": 41}
