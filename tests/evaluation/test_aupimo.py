"""AUPIMO against a reference that tries every threshold, image by image."""

import math
import time

import numpy as np
import pytest
from scipy import integrate

from jaxflow.errors import InputError
from jaxflow.evaluation import pixel_aupimo, pixel_aupro


def brute_force_aupimo(masks, maps, normal, low, high):
    """Follow the definition: every distinct score is a threshold, each image measured alone."""
    thresholds = np.unique(maps)[::-1]
    fpr = [0.0]
    for threshold in thresholds:
        fpr.append(float(np.mean([np.mean(m >= threshold) for m in maps[normal]])))
        if fpr[-1] > high:
            break
    areas = np.full(len(maps), np.nan)
    for i, (mask, scores) in enumerate(zip(masks, maps, strict=True)):
        if mask.any():
            found = [0.0, *(float(np.mean(scores[mask] >= t)) for t in thresholds[: len(fpr) - 1])]
            areas[i] = integrate_over_log(fpr, found, low, high) / math.log(high / low)
    return areas


def integrate_over_log(fpr, found, low, high):
    """Integrate a curve of straight segments over log FPR, numerically and segment by segment."""
    area = 0.0
    for left, right, a, b in zip(fpr[:-1], fpr[1:], found[:-1], found[1:], strict=True):
        start, end = max(left, low), min(right, high)
        if start < end:
            area += integrate.quad(
                lambda u, left=left, right=right, a=a, b=b: (
                    a + (b - a) * (math.exp(u) - left) / (right - left)
                ),
                math.log(start),
                math.log(end),
                epsabs=1e-13,
            )[0]
    return area


def random_maps(seed, levels, shape=(6, 14, 11), density=0.25):
    """Masks of many small regions in all images except the first three, and maps with ties."""
    rng = np.random.default_rng(seed)
    masks = rng.random(shape) < density
    masks[:3] = False
    maps = np.round(levels * rng.normal(0.9 * masks, 1.0)) / levels
    return masks, maps.astype(np.float32)


@pytest.mark.parametrize("fpr_range", [(0.01, 0.1), (0.02, 0.3), (0.25, 1.0)])
@pytest.mark.parametrize("levels", [0.4, 1, 3, 20, 10000])
def test_aupimo_equals_brute_force(levels, fpr_range):
    for seed in range(3):
        masks, maps = random_maps(seed, levels)
        expected = brute_force_aupimo(masks, maps, slice(0, 3), *fpr_range)
        mean, areas = pixel_aupimo(masks, maps, fpr_range=fpr_range)
        np.testing.assert_allclose(areas, expected, rtol=0, atol=1e-10)
        assert mean == pytest.approx(np.mean(expected[3:]), abs=1e-10)


@pytest.mark.parametrize("levels", [2, 8, 1e6])
def test_aupimo_equals_brute_force_in_its_usual_range(levels):
    masks, maps = random_maps(0, levels, shape=(5, 256, 256), density=0.001)
    maps[masks] += 2.5
    expected = brute_force_aupimo(masks, maps, slice(0, 3), 1e-5, 1e-4)
    assert 0.01 < np.nanmean(expected) < 0.99
    np.testing.assert_allclose(pixel_aupimo(masks, maps).per_image, expected, rtol=0, atol=1e-10)


def test_a_step_in_the_middle_of_the_range_gives_one_half():
    normal = np.arange(1.0, 101.0)  # A score above the 4 highest is found from an FPR of 0.04 on.
    maps = np.stack([normal, np.full(100, 96.5)]).reshape(2, 10, 10)
    masks = np.zeros((2, 10, 10), bool)
    masks[1, 0, 0] = True
    assert pixel_aupimo(masks, maps, fpr_range=(0.01, 0.16)).mean == pytest.approx(0.5)


def test_perfect_maps_give_one_and_reversed_maps_zero():
    masks, _ = random_maps(2, 5)
    for sign, value in ((1, 1.0), (-1, 0.0)):
        found = pixel_aupimo(masks, sign * masks.astype(np.float32), fpr_range=(0.01, 0.1))
        assert found.mean == value
        np.testing.assert_array_equal(found.per_image, [np.nan] * 3 + [value] * 3)


def test_constant_maps_are_found_in_proportion_to_the_rate():
    masks, maps = random_maps(2, 5)
    # The one segment goes from (0, 0) to (1, 1): the integral of f over log f is high - low.
    expected = (0.1 - 0.01) / math.log(10)
    found = pixel_aupimo(masks, np.zeros_like(maps), fpr_range=(0.01, 0.1))
    assert found.mean == pytest.approx(expected)


def test_normal_pixels_of_anomalous_images_cost_nothing():
    masks, maps = random_maps(3, 20)
    before = pixel_aupimo(masks, maps, fpr_range=(0.01, 0.1)).per_image
    raised = maps.copy()
    raised[3:][~masks[3:]] = 99.0
    np.testing.assert_array_equal(
        pixel_aupimo(masks, raised, fpr_range=(0.01, 0.1)).per_image, before
    )
    assert pixel_aupro(masks, raised) < pixel_aupro(masks, maps)


def test_an_anomalous_image_with_an_empty_mask_is_not_normal_and_has_no_area():
    masks, maps = random_maps(3, 20)
    labels = np.array([0, 0, 1, 1, 1, 1])
    changed = maps.copy()
    changed[2] = 99.0
    kept = [0, 1, 3, 4, 5]
    found = pixel_aupimo(masks, changed, labels, fpr_range=(0.01, 0.1))
    alone = pixel_aupimo(masks[kept], maps[kept], fpr_range=(0.01, 0.1))
    np.testing.assert_array_equal(found.per_image[kept], alone.per_image)
    assert np.isnan(found.per_image[2])


def test_monotone_transform_image_order_and_type_change_nothing():
    masks, maps = random_maps(3, 4)
    areas = pixel_aupimo(masks, maps, fpr_range=(0.01, 0.1)).per_image
    for changed in (np.exp(9 * maps.astype(np.float64)), maps.astype(np.float16)):
        same = pixel_aupimo(masks.astype(np.uint8), changed, fpr_range=(0.01, 0.1)).per_image
        np.testing.assert_array_equal(same, areas)
    turned = pixel_aupimo(masks[::-1], maps[::-1], fpr_range=(0.01, 0.1)).per_image
    np.testing.assert_array_equal(turned[::-1], areas)


def test_input_that_allows_no_aupimo_is_refused():
    masks, maps = random_maps(0, 3)
    broken = maps.copy()
    broken[1, 2, 3] = np.nan
    cases = [
        ((masks, maps), "have 462 pixels, and a false-positive rate of 1e-05 needs 100000"),
        ((masks[3:], maps[3:]), "no normal image in the test set"),
        ((masks[:3], maps[:3]), "no anomalous pixel in the test set"),
        ((masks, broken), "1 of 924 scores are NaN"),
        ((masks[:, :5], maps), r"one shape \[b, h, w\]"),
        ((masks[0], maps[0]), r"one shape \[b, h, w\]"),
        ((masks * np.uint8(255), maps), "bool or 0 and 1"),
        ((masks, maps, [0, 0, 0, 0, 1, 1]), "an empty mask for each normal one"),
        ((masks, maps, [0, 1]), "a label for each image"),
        ((masks, maps, None, (0.0, 0.1)), "expected 0 < low < high <= 1"),
        ((masks, maps, None, (0.2, 0.1)), "got 0.2 and 0.1"),
        ((masks, maps, None, (0.2, 1.1)), "fpr_range"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            pixel_aupimo(*arguments)


def test_as_many_pixels_as_the_lowest_rate_needs_are_enough():
    maps = np.zeros((2, 250, 400), np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[1, 0, 0] = True
    maps[1, 0, 0] = 1.0
    assert pixel_aupimo(masks, maps).mean == 1.0
    with pytest.raises(InputError, match="have 99600 pixels"):
        pixel_aupimo(masks[:, :-1], maps[:, :-1])


def test_aupimo_of_160_maps_costs_less_than_aupro():
    masks, maps = random_maps(0, 1e6, shape=(160, 256, 256), density=0.02)
    masks[3:60] = False

    def seconds(metric):
        start = time.perf_counter()
        metric(masks, maps)
        return time.perf_counter() - start

    assert min(seconds(pixel_aupimo) for _ in range(3)) < min(seconds(pixel_aupro) for _ in "ab")
