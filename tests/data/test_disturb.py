import numpy as np
import pytest

from jaxflow.data import Example, Split
from jaxflow.data.augment import rotate
from jaxflow.data.disturb import TEST_SETS, Movement, disturbed
from jaxflow.data.pipeline import read_images, read_masks


def blob_example(i, shape=(60, 80), at=(25, 45), size=9, label=1):
    """Make an image that is dark but for a bright disk, and the disk's mask."""
    rows, columns = np.indices(shape)
    mask = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= size**2
    mask &= bool(label)
    image = np.repeat((mask * 200 + 20)[..., None], 3, -1).astype(np.uint8)
    return Example(image, mask, label, "cut" if label else "good", f"test/cut/{i:03d}.png")


def make_split(examples):
    return Split.of(examples, [e.name for e in examples], [e.defect for e in examples])


def centroid(mask):
    return np.argwhere(mask).mean(0)


@pytest.mark.parametrize("shape", [(24, 24, 3), (15, 32, 3), (1, 9, 3), (1, 1, 3)])
def test_identity_changes_nothing(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(Movement().apply(image), image)
    mask = image[..., 0] > 128
    moved = Movement().apply(mask)
    assert moved.dtype == np.bool_
    np.testing.assert_array_equal(moved, mask)


def test_shift_by_whole_pixels_is_exact_and_reflects_at_the_border():
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    moved = Movement(shift=(0.1, -0.05)).apply(image)
    np.testing.assert_array_equal(moved[2:, :-2], image[:-2, 2:])
    np.testing.assert_array_equal(moved[:2, :-2], image[1:3, 2:][::-1])


def test_rotation_agrees_with_that_of_the_augmentation():
    image = np.random.default_rng(0).integers(0, 256, (31, 31, 3), np.uint8)
    # cos(90 degrees) is not quite 0, and Pillow rounds down.
    turned = Movement(degrees=90.0).apply(image)
    np.testing.assert_allclose(turned.astype(int), np.rot90(image), atol=1)
    smooth = np.indices((40, 40)).sum(0).astype(np.uint8)[..., None].repeat(3, -1)
    difference = Movement(degrees=12.0).apply(smooth).astype(int) - rotate(smooth, 12.0)
    assert np.abs(difference[8:-8, 8:-8]).max() <= 1


def test_zoom_scales_areas_about_the_center():
    mask = blob_example(0, at=(29.5, 39.5), size=20).mask
    for zoom in (0.85, 1 / 0.85):
        moved = Movement(zoom=zoom).apply(mask)
        assert moved.sum() / mask.sum() == pytest.approx(zoom**2, rel=0.05)
        np.testing.assert_allclose(centroid(moved), (29.5, 39.5), atol=0.1)


def test_large_movements_fill_the_frame_from_the_image():
    image = np.full((20, 30, 3), 77, np.uint8)
    moved = Movement(zoom=0.2, degrees=45.0, shift=(0.9, -0.9)).apply(image)
    assert (moved == 77).all()


def test_every_example_gives_four_copies_that_name_it():
    examples = [blob_example(0), blob_example(1, label=0)]
    copies = disturbed(make_split(examples))
    assert len(copies) == 8
    assert copies.names == [f"test/cut/{i:03d}_disturbed{k}.png" for i in (0, 1) for k in range(4)]
    np.testing.assert_array_equal(copies.labels, [1] * 4 + [0] * 4)
    for i in range(8):
        example, original = copies[i], examples[i // 4]
        assert example.name == copies.names[i]
        assert (example.label, example.defect) == (original.label, original.defect)
        assert example.image.shape == original.image.shape
        assert example.image.dtype == np.uint8
        assert example.mask.dtype == np.bool_
        assert (example.image != original.image).any() or original.label == 0
    assert not any(copies[i].mask.any() for i in range(4, 8))


def test_masks_move_with_their_images():
    copies = disturbed(make_split([blob_example(i) for i in range(6)]))
    places = []
    for i in range(len(copies)):
        bright = copies[i].image[..., 0] > 120
        assert (bright != copies[i].mask).mean() < 0.01
        places.append(centroid(copies[i].mask))
    assert np.std(places, axis=0).min() > 2


def test_disturbance_depends_on_seed_and_example_alone():
    split = make_split([blob_example(i) for i in range(5)])
    images = read_images(disturbed(split, seed=3), (60, 80))
    np.testing.assert_array_equal(read_images(disturbed(split, seed=3), (60, 80)), images)
    assert (read_images(disturbed(split, seed=4), (60, 80)) != images).any()
    # All examples are equal here, so that only their movements tell them apart.
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    part = read_images(disturbed(split.subset([3, 1]), seed=3), (60, 80))
    np.testing.assert_array_equal(part, images[[12, 13, 14, 15, 4, 5, 6, 7]])
    two = read_images(disturbed(split, seed=3, copies=2), (60, 80))
    np.testing.assert_array_equal(two, images.reshape(5, 4, 60, 80, 3)[:, :2].reshape(two.shape))


def test_movements_fill_the_published_ranges_and_stay_in_them():
    shape = (101, 101)
    one = Example(
        np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.bool_), 1, "cut", "test/cut/0.png"
    )
    # Two disks of different size show zoom, angle and shift.
    for at, size in (((50, 38), 5), ((50, 62), 3)):
        one.mask[blob_example(0, shape, at, size).mask] = True
        one.image[blob_example(0, shape, at, size).mask] = 255
    copies = disturbed(make_split([one]), copies=200)
    movements = []
    for i in range(len(copies)):
        bright = copies[i].image[..., 0] / 255.0
        # Reflections at the border do not reach the disks' part of the frame.
        big, small = disks(bright)
        vector, middle = small - big, (small + big) / 2
        movements.append(
            (
                np.log(np.hypot(*vector) / 24),
                np.degrees(np.arctan2(-vector[0], vector[1])),
                *((middle - 50) / 101),
            )
        )
    limits = np.array([np.log(1 / 0.85), 15.0, 0.15, 0.15])
    low, high = np.min(movements, 0), np.max(movements, 0)
    assert (high < limits * 1.03).all()
    assert (low > -limits * 1.03).all()
    assert (high > limits * 0.9).all()
    assert (low < -limits * 0.9).all()


def disks(bright):
    from scipy import ndimage

    labels, n = ndimage.label(bright > 0.5)
    assert n == 2
    order = np.argsort([-(labels == k).sum() for k in (1, 2)])
    return [np.array(ndimage.center_of_mass(bright, labels, int(k) + 1)) for k in order]


def test_anomaly_at_the_border_stays_in_sight():
    # In a corner it leaves the frame in more than half of all movements.
    examples = [blob_example(i, at=(1, 1), size=2) for i in range(20)]
    split = make_split(examples)
    assert read_masks(disturbed(split), (60, 80)).any((1, 2)).all()


def test_examples_without_masks_move_as_those_with():
    bare = Example(blob_example(0).image, None, 1, "cut", "test/cut/000.png")
    copies = disturbed(make_split([bare]))
    with_mask = disturbed(make_split([blob_example(0)]))
    assert copies[2].mask is None
    np.testing.assert_array_equal(copies[2].image, with_mask[2].image)


def test_source_is_left_as_it_was():
    example = blob_example(0)
    image, mask = example.image.copy(), example.mask.copy()
    disturbed(make_split([example]))[1]
    np.testing.assert_array_equal(example.image, image)
    np.testing.assert_array_equal(example.mask, mask)


def test_bad_arguments_are_refused():
    split = make_split([blob_example(0)])
    with pytest.raises(ValueError, match="copies must be at least 1, got 0"):
        disturbed(split, copies=0)
    with pytest.raises(ValueError, match=r"zoom must be in \(0, 1\], got 1.2"):
        disturbed(split, zoom=1.2)


def test_test_sets_are_named():
    split = make_split([blob_example(0)])
    assert TEST_SETS["original"](split) is split
    assert TEST_SETS["disturbed"](split).names == disturbed(split).names
    assert set(TEST_SETS) == {"original", "disturbed"}
