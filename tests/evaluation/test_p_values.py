"""p-values of images and pixels, from held-out normal images."""

import numpy as np
import pytest

from jaxflow.evaluation.calibration import LEVEL, Calibration, Quantiles, calibrate


def exact(held_out, scores):
    """Count, for each score, the held-out ones that reach it."""
    reached = [(held_out >= score).sum() for score in scores.reshape(-1)]
    return (1 + np.reshape(reached, scores.shape)) / (held_out.size + 1)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_p_values_count_the_held_out_scores_that_reach():
    held_out, scores = draw(0, 40), draw(1, 300)
    held_out[:5] = scores[:5]  # Ties count.
    calibration = Calibration(image_scores=held_out.tolist())
    np.testing.assert_allclose(calibration.p_values(scores), exact(held_out, scores), 1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (4, 16, 16)])
def test_pixel_p_values_are_exact_where_all_held_out_pixels_are_kept(shape):
    held_out, maps = draw(0, *shape), draw(1, 2, 6, 8)
    held_out.reshape(-1)[0] = maps[0, 0, 0]
    calibration = calibrate(held_out, held_out.max((1, 2)), Quantiles())
    got = calibration.pixel_p_values(maps)
    expected = exact(held_out, maps)
    assert (got >= expected - 1e-12).all()
    assert (got <= 1.01 * expected + 1 / held_out.size).all()
    largest = expected <= 200 / held_out.size
    np.testing.assert_allclose(got[largest], expected[largest], 1e-12)


def test_pixel_p_values_of_many_pixels_are_never_too_small_and_nearly_exact():
    held_out, maps = np.round(draw(0, 20, 64, 64), 3), np.round(draw(1, 5, 9, 9), 3)
    calibration = calibrate(held_out, held_out.max((1, 2)), Quantiles())
    assert len(calibration.pixel_scores) <= 1024 < calibration.pixels
    got, expected = calibration.pixel_p_values(maps), exact(held_out, maps)
    assert (got >= expected - 1e-12).all()
    np.testing.assert_allclose(got, expected, 0.02)
    beyond = np.full((1, 1), held_out.max() + 1)
    assert calibration.pixel_p_values(beyond) == 1 / (held_out.size + 1)
    assert calibration.pixel_p_values(-beyond) == 1.0


def test_normal_images_raise_false_alarms_at_the_level_and_no_more():
    rates = []
    for seed in range(200):
        maps = draw(seed, 59, 8, 8)
        held_out, test = maps[:39], maps[39:]
        calibration = calibrate(held_out, held_out.max((1, 2)), Quantiles())
        rates.append(
            list(calibration.false_alarms(np.ones(20, bool), test, test.max((1, 2))).values())
        )
    # 200 x 20 images, each with probability LEVEL; three standard errors.
    image, pixel = np.mean(rates, 0)
    some = calibration.false_alarms(np.arange(20) < 5, test, test.max((1, 2)))
    few = calibration.false_alarms(np.ones(5, bool), test[:5], test[:5].max((1, 2)))
    assert some == few
    assert abs(image - LEVEL) < 3 * np.std(np.asarray(rates)[:, 0]) / 200**0.5
    assert abs(pixel - LEVEL) < 0.005


def test_without_held_out_or_normal_images_no_rate_is_given():
    everything = (np.ones((2, 3, 3)), np.ones(2))
    assert Calibration().false_alarms(np.ones(2, bool), *everything) == {}
    calibration = calibrate(draw(0, 3, 4, 4), draw(1, 3), Quantiles())
    assert calibration.false_alarms(np.zeros(2, bool), *everything) == {}
