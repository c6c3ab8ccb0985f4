import json

import numpy as np
import pytest

from jaxflow.data import Example, Split
from jaxflow.data.augment import AUGMENTATIONS
from jaxflow.data.image import resize_image
from jaxflow.data.pipeline import epoch_batches, read_images, read_masks, train_iterator
from jaxflow.errors import InputError
from jaxflow.parallel import padded_batches

SIZE = (8, 12)


def make_split(n=10, shape=(16, 24), masks=True):
    """Make n images, each of one color, its number; every other one is anomalous."""
    examples = []
    for i in range(n):
        image = np.full((*shape, 3), i, np.uint8)
        image[0, 0] = 255 - i
        mask = np.zeros(shape, np.bool_) if masks or i % 2 == 0 else None
        if mask is not None and i % 2:
            mask[: 1 + i] = True
        examples.append(Example(image, mask, i % 2, "cut" if i % 2 else "good", f"{i}.png"))
    return Split.of(examples, [e.name for e in examples], [e.defect for e in examples])


def make_iterator(split, **changes):
    arguments = {"size": SIZE, "batch_size": 4, "seed": 0, "num_threads": 2} | changes
    return train_iterator(split, **arguments)


def numbers(batch):
    return batch["image"][:, -1, -1, 0].tolist()


@pytest.mark.parametrize("num_threads", [1, 4])
def test_images_are_read_in_order_whatever_the_threads(num_threads):
    split = make_split(23).subset(np.arange(22, -1, -1))
    images = read_images(split, SIZE, num_threads=num_threads)
    assert images.dtype == np.uint8
    expected = np.stack([resize_image(split[i].image, SIZE) for i in range(23)])
    np.testing.assert_array_equal(images, expected)


def test_masks_are_read_in_order_and_none_if_one_is_missing():
    masks = read_masks(make_split(6), (16, 24))
    np.testing.assert_array_equal(masks[:, :, 0].sum(1), [0, 2, 0, 4, 0, 6])
    assert read_masks(make_split(6, masks=False), SIZE) is None
    assert read_masks(make_split(6, masks=False).subset([0, 2]), SIZE).shape == (2, *SIZE)


def test_regions_that_vanish_are_told_in_one_line():
    split, lines = make_split(6, shape=(64, 64)), []
    read_masks(split, (64, 64), note=lines.append)
    assert lines == []
    masks = read_masks(split, (4, 4), note=lines.append)
    assert lines[0].startswith("3 of 3 regions of the masks vanish at 4 x 4, the first in 1.png")
    assert masks.any((1, 2)).tolist() == [False, True] * 3


def test_empty_split_reads_as_empty():
    assert read_images(make_split().subset([]), SIZE).shape == (0, *SIZE, 3)


def test_batches_follow_epoch_batches_without_end():
    batches = make_iterator(make_split(10), seed=7)
    for epoch in range(4):
        for expected in epoch_batches(10, 4, 7, epoch):
            batch = next(batches)
            assert batch["image"].shape == (4, *SIZE, 3)
            assert batch["image"].dtype == np.uint8
            assert numbers(batch) == expected.tolist()


def test_cached_and_uncached_batches_are_equal():
    split = make_split()
    augmentation = AUGMENTATIONS["fastflow"](None)
    cached = make_iterator(split, augmentation=augmentation)
    fresh = make_iterator(split, augmentation=augmentation, cache=False)
    for _ in range(5):
        np.testing.assert_array_equal(next(cached)["image"], next(fresh)["image"])


@pytest.mark.parametrize("position", [0, 1, 2, 5])
def test_saved_position_continues_bit_identically(position):
    split, augmentation = make_split(), AUGMENTATIONS["fastflow"](None)
    batches = make_iterator(split, augmentation=augmentation)
    for _ in range(position):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    expected = [next(batches)["image"] for _ in range(6)]
    # Another iterator, with other threads, as in another process.
    resumed = make_iterator(split, augmentation=augmentation, num_threads=3)
    resumed.set_state(state)
    for images in expected:
        np.testing.assert_array_equal(next(resumed)["image"], images)


def test_augmentation_is_drawn_anew_in_each_epoch_and_depends_on_the_seed():
    split = make_split(4)
    augmentation = AUGMENTATIONS["fastflow"](None)

    def epochs(seed):
        batches = make_iterator(split, seed=seed, augmentation=augmentation)
        # In order of the images, so that only augmentation makes a difference.
        result = []
        for _ in range(3):
            images = next(batches)["image"]
            result.append(images[np.argsort(np.median(images[..., 0], (1, 2)))])
        return result

    first, second, third = epochs(0)
    assert (first != second).any()
    assert (second != third).any()
    np.testing.assert_array_equal(epochs(0), [first, second, third])
    assert (epochs(1)[0] != first).any()


def test_epoch_is_a_seeded_shuffle_that_visits_no_example_twice():
    batches = epoch_batches(10, 3, 0, 0)
    assert batches.shape == (3, 3)
    assert batches.dtype == np.int64
    assert len(set(batches.ravel().tolist())) == 9
    np.testing.assert_array_equal(batches, epoch_batches(10, 3, 0, 0))
    assert (batches != epoch_batches(10, 3, 0, 1)).any()
    assert (batches != epoch_batches(10, 3, 1, 0)).any()
    left_out = {(set(range(10)) - set(epoch_batches(10, 3, 0, e).ravel())).pop() for e in range(30)}
    assert len(left_out) > 3


def test_batch_larger_than_the_set_is_refused():
    with pytest.raises(InputError, match=r"number of training images, 3, got 4; set a smaller"):
        epoch_batches(3, 4, 0, 0)
    with pytest.raises(InputError, match="set a smaller batch_size or add images"):
        make_iterator(make_split(3))


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (8, 4), (3, 4), (1, 1), (0, 4)])
def test_padded_batches_visit_each_example_exactly_once(n, batch_size):
    seen = []
    for indices, valid in padded_batches(n, batch_size):
        assert indices.shape == valid.shape == (batch_size,)
        assert indices.dtype == np.int64
        assert valid.dtype == np.bool_
        assert indices.max() < n
        seen += indices[valid].tolist()
    assert seen == list(range(n))


def test_padded_batches_refuse_a_batch_of_none():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        next(padded_batches(3, 0))
