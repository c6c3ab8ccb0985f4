import numpy as np
import pytest

from jaxflow.data.augment import AUGMENTATIONS, RandomFlipRotate, rotate

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
MASK = IMAGE[..., 0] > 128


def outcomes(transform, n=400):
    elements = [transform.random_map({"image": IMAGE}, np.random.default_rng(i)) for i in range(n)]
    return np.stack([element["image"] for element in elements])


def test_registry_has_the_papers_settings():
    assert AUGMENTATIONS["none"](None) is None
    assert AUGMENTATIONS["fastflow"]("bottle") == RandomFlipRotate(0.5, 0.3, 0.7, 15.0)
    assert AUGMENTATIONS["fastflow"](None) == RandomFlipRotate(0.5, 0.3, 0.7, 15.0)
    assert AUGMENTATIONS["cflow"]("bottle") == RandomFlipRotate(0.0, 0.0, 1.0, 5.0)
    assert AUGMENTATIONS["differnet"]("bottle") == RandomFlipRotate(0.0, 0.0, 1.0, 180.0)


def test_transistor_is_neither_turned_upside_down_nor_rotated():
    assert AUGMENTATIONS["fastflow"]("transistor") == RandomFlipRotate(0.5, 0.0, 0.0, 15.0)


def test_flips_come_as_often_as_asked_and_are_exact():
    images = outcomes(RandomFlipRotate(horizontal_flip=0.5, vertical_flip=0.3))
    expected = {
        (False, False): (IMAGE, 0.35),
        (True, False): (IMAGE[:, ::-1], 0.35),
        (False, True): (IMAGE[::-1], 0.15),
        (True, True): (IMAGE[::-1, ::-1], 0.15),
    }
    counts = [(images == image).all((1, 2, 3)).mean() for image, _ in expected.values()]
    assert sum(counts) == 1.0
    # Four standard deviations of 400 draws.
    np.testing.assert_allclose(counts, [p for _, p in expected.values()], atol=0.1)


def test_rotation_comes_as_often_as_asked():
    images = outcomes(RandomFlipRotate(rotation=0.7, degrees=15.0))
    changed = (images != IMAGE).any((1, 2, 3)).mean()
    assert changed == pytest.approx(0.7, abs=0.1)


def test_rotation_stays_within_its_degrees():
    # A line through the center shows the angle.
    line = np.zeros((101, 101, 3), np.uint8)
    line[50] = 255
    transform = RandomFlipRotate(rotation=1.0, degrees=5.0)
    angles = []
    for seed in range(40):
        turned = transform.random_map({"image": line}, np.random.default_rng(seed))["image"]
        rows = turned[..., 0].astype(float)
        heights = (rows * np.arange(101)[:, None]).sum(0) / rows.sum(0)
        angles.append(np.degrees(np.arctan(np.polyfit(np.arange(20, 80), heights[20:80], 1)[0])))
    assert max(map(abs, angles)) < 5.2
    assert min(angles) < -3
    assert max(angles) > 3


def test_rotation_by_a_quarter_equals_rot90_on_a_square():
    square = IMAGE[:, :24]
    np.testing.assert_array_equal(rotate(square, 90.0), np.rot90(square))
    np.testing.assert_array_equal(rotate(IMAGE, 0.0), IMAGE)


def test_corners_are_filled_by_reflection_and_not_black():
    bright = np.full((40, 40, 3), 200, np.uint8)
    assert (rotate(bright, 33.0) == 200).all()


def test_mask_moves_with_its_image():
    element = {"image": np.repeat(MASK[..., None] * np.uint8(255), 3, -1), "mask": MASK, "other": 1}
    transform = RandomFlipRotate(0.5, 0.5, 0.0)
    for seed in range(8):
        result = transform.random_map(element, np.random.default_rng(seed))
        np.testing.assert_array_equal(result["image"][..., 0] == 255, result["mask"])
        assert result["other"] == 1
    turned = RandomFlipRotate(0.0, 0.0, 1.0, 30.0).random_map(element, np.random.default_rng(0))
    agree = (turned["image"][..., 0] > 127) == turned["mask"]
    assert agree.mean() > 0.8


def test_input_is_left_as_it_was():
    image = IMAGE.copy()
    AUGMENTATIONS["fastflow"](None).random_map({"image": image}, np.random.default_rng(0))
    np.testing.assert_array_equal(image, IMAGE)
