"""AUPRO against a reference that tries every threshold, region by region."""

import numpy as np
import pytest
from scipy import ndimage

from jaxflow.errors import InputError
from jaxflow.evaluation import ranking
from jaxflow.evaluation.aupro import pixel_aupro, region_weights


def brute_force_aupro(masks, maps, max_fpr):
    """Follow the definition: every distinct score is a threshold, each region measured alone."""
    regions = []
    for image, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [maps[image][labelled == k + 1] for k in range(count)]
    normal = maps[~masks]
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        fpr.append(float(np.mean(normal >= threshold)))
        pro.append(float(np.mean([np.mean(region >= threshold) for region in regions])))
    area = 0.0
    for left, right, low, high in zip(fpr[:-1], fpr[1:], pro[:-1], pro[1:], strict=True):
        if right <= max_fpr:
            area += (right - left) * (low + high) / 2
        elif left < max_fpr:
            at_end = low + (high - low) * (max_fpr - left) / (right - left)
            area += (max_fpr - left) * (low + at_end) / 2
    return area / max_fpr


def random_maps(seed, levels, shape=(4, 14, 11), density=0.25):
    """Masks of many small regions, diagonal contacts among them, and maps with ties."""
    rng = np.random.default_rng(seed)
    masks = rng.random(shape) < density
    masks[0] = False
    maps = np.round(levels * rng.normal(0.7 * masks, 1.0)) / levels
    return masks, maps.astype(np.float32)


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [1, 3, 20, 10000])
def test_aupro_equals_brute_force(levels, max_fpr):
    for seed in range(4):
        masks, maps = random_maps(seed, levels, density=0.1 + 0.1 * seed)
        expected = brute_force_aupro(masks, maps, max_fpr)
        assert abs(pixel_aupro(masks, maps, max_fpr) - expected) < 1e-12


def test_searching_in_small_chunks_changes_nothing(monkeypatch):
    masks, maps = random_maps(1, 5)
    whole = pixel_aupro(masks, maps)
    monkeypatch.setattr(ranking, "CHUNK", 11)
    assert pixel_aupro(masks, maps) == pytest.approx(whole, abs=1e-14)


def test_regions_touching_at_a_corner_are_one_and_regions_count_alike():
    masks = np.zeros((2, 6, 6), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # One region of two pixels.
    masks[1, 2:5, 2:5] = True  # One region of nine.
    np.testing.assert_allclose(region_weights(masks), [1 / 4] * 2 + [1 / 18] * 9)


def test_a_missed_small_region_costs_as_much_as_a_missed_large_one():
    masks = np.zeros((1, 16, 16), bool)
    masks[0, 1, 1] = True
    masks[0, 4:14, 4:14] = True
    for found in (masks & (np.arange(16) < 3), masks & (np.arange(16) >= 3)):
        maps = found.astype(np.float32)
        maps[masks & ~found] = -1.0
        assert pixel_aupro(masks, maps) == pytest.approx(0.5)


def test_regions_of_different_images_do_not_join():
    masks = np.ones((2, 2, 2), bool)
    masks[:, 0] = False
    np.testing.assert_allclose(region_weights(masks), [1 / 4] * 4)


def test_perfect_maps_give_one_and_reversed_maps_zero():
    masks, _ = random_maps(2, 5)
    assert pixel_aupro(masks, masks.astype(np.float32)) == 1.0
    assert pixel_aupro(masks, -masks.astype(np.float32)) == 0.0


@pytest.mark.parametrize("max_fpr", [0.1, 0.3, 1.0])
def test_constant_maps_give_half_of_max_fpr(max_fpr):
    masks, maps = random_maps(2, 5)
    assert pixel_aupro(masks, np.zeros_like(maps), max_fpr) == pytest.approx(max_fpr / 2)


def test_curve_is_cut_at_the_end_point_by_interpolation():
    masks = np.array([[[True, False, False, False, False]]])
    maps = np.array([[[1.0, 1.0, 1.0, 0.0, 0.0]]])
    # The one segment goes from (0, 0) to (0.5, 1): the area to 0.3 is 0.3 * 0.6 / 2.
    assert pixel_aupro(masks, maps, 0.3) == pytest.approx(0.3)


def test_monotone_transform_and_image_order_change_nothing():
    masks, maps = random_maps(3, 20)
    value = pixel_aupro(masks, maps)
    assert pixel_aupro(masks, np.exp(9 * maps.astype(np.float64))) == pytest.approx(value)
    assert pixel_aupro(masks[::-1], maps[::-1]) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floating_types_give_the_same_value(dtype):
    masks, maps = random_maps(3, 4)
    assert pixel_aupro(masks, maps.astype(dtype)) == pixel_aupro(masks, maps)


def test_integer_masks_equal_boolean_masks():
    masks, maps = random_maps(3, 4)
    assert pixel_aupro(masks.astype(np.uint8), maps) == pixel_aupro(masks, maps)


def test_input_that_allows_no_aupro_is_refused():
    masks, maps = random_maps(0, 3)
    broken = maps.copy()
    broken[1, 2, 3] = np.nan
    cases = [
        ((masks, broken), "1 of 616 scores are NaN"),
        ((np.zeros_like(masks), maps), "no anomalous example"),
        ((np.ones_like(masks), maps), "no normal example"),
        ((masks[:, :5], maps), "do not fit"),
        ((masks[0], maps[0]), r"\[b, h, w\]"),
        ((masks * np.uint8(255), maps), "bool or 0 and 1"),
        ((masks, maps, 0.0), r"max_fpr must be in \(0, 1\], got 0.0"),
        ((masks, maps, 1.5), "max_fpr"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            pixel_aupro(*arguments)
