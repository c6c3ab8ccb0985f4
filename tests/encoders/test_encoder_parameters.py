"""Parameter counts are pinned, and what the asked maps do not need does not exist."""

import jax
import numpy as np
import pytest

from jaxflow.encoders import ENCODERS
from jaxflow.encoders.registry import parameter_shapes

# timm's counts of the parts that are built, less the batch norms' scales (folded: only a bias a
# channel stays).
COUNTS = {
    ("resnet18", (1, 2, 3)): 2_780_544,
    ("resnet18", (1, 2, 3, 4)): 11_171_712,
    ("resnet18", (1,)): 157_184,
    ("wide_resnet50_2", (1, 2, 3)): 24_842_752,
    ("wide_resnet50_2", (1, 2, 3, 4)): 66_800_128,
    ("deit_base_distilled_patch16_384", (7,)): 57_740_544,
    ("deit_base_distilled_patch16_384", (2, 5, 11)): 86_092_032,
    ("deit_tiny_distilled_patch16_224", (7,)): 3_745_344,
    ("cait_m48_448", (40,)): 291_882_272,
    ("cait_m48_448", (10, 47)): 341_511_936,
    ("cait_xxs24_224", (20,)): 9_536_712,
    ("mobilenetv3_large_100", (3, 5, 6)): 2_805_192,
    ("mobilenetv3_large_100", (7,)): 2_959_752,
    ("vit_small_patch14_dinov2", (11,)): 22_056_192,
    ("vit_small_patch14_dinov2", (3,)): 7_854_336,
    ("vit_base_patch14_dinov2", (11,)): 86_579_712,
    ("vit_large_patch14_dinov2", (23,)): 304_367_616,
    ("vit_small_patch14_reg4_dinov2", (11,)): 22_057_344,
    ("vit_base_patch14_reg4_dinov2", (11,)): 86_582_016,
    ("vit_large_patch14_reg4_dinov2", (23,)): 304_370_688,
    ("vit_small_patch16_dinov3", (11,)): 21_586_944,
    ("vit_small_patch16_dinov3", (3,)): 7_394_304,
    ("vit_base_patch16_dinov3", (11,)): 85_641_216,
    ("vit_large_patch16_dinov3", (23,)): 303_079_424,
    ("efficientnet_b4", (2, 3, 5)): 3_611_656,
    ("efficientnet_b4", (7,)): 16_681_408,
    ("efficientnet_b5", (7,)): 27_203_792,
    ("tf_efficientnet_b4", (2, 3, 5)): 3_611_656,
    ("tf_efficientnet_b5", (2, 3, 5)): 5_345_096,
    ("tf_efficientnet_b5", (7,)): 27_203_792,
}


def count(name, stages):
    spec = ENCODERS[name]
    shapes = parameter_shapes(spec.build(stages=stages), spec.input_size)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(("name", "stages"), COUNTS)
def test_parameter_count_is_pinned(name, stages):
    assert count(name, stages) == COUNTS[name, stages]


def test_every_encoder_has_a_pinned_count():
    assert {name for name, _ in COUNTS} == set(ENCODERS)


def test_a_stage_is_not_run_unless_a_map_needs_it():
    def convolutions(stages):
        module = ENCODERS["resnet18"].build(stages=stages)
        image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
        jaxpr = jax.make_jaxpr(module.apply)({"params": parameter_shapes(module, 64)}, image)
        return str(jaxpr).count("conv_general_dilated[")

    # Stem, then four convolutions a stage and one more where the shortcut changes its width.
    assert [convolutions(s) for s in ((1,), (2,), (1, 2, 3), (4,))] == [5, 10, 15, 20]
