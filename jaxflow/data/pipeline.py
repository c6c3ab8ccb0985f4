"""Examples to batches, fed by grain: in order once, or shuffled without end."""

import functools
from collections.abc import Callable, Iterator

import grain
import numpy as np

from jaxflow.data.example import Example, Split
from jaxflow.data.image import resize_image, resize_mask
from jaxflow.data.masks import count_vanished
from jaxflow.errors import InputError


def read_images(split: Split, size: tuple[int, int], *, num_threads: int = 4) -> np.ndarray:
    """Read all images of a split into memory, resized.

    Args:
      split: n examples.
      size: (height, width), pixels.
      num_threads: threads that decode.

    Returns:
      u8[n, height, width, 3], in the order of the split whatever the threads.
    """
    images = np.empty((len(split), *size, 3), np.uint8)
    for i, example in enumerate(_in_order(split, num_threads)):
        images[i] = resize_image(example.image, size)
    return images


def read_in_batches(
    split: Split, size: tuple[int, int], batch_size: int, *, num_threads: int = 4
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read a split in order, a batch at a time; no more than that is in memory.

    Args:
      split: n examples.
      size: (height, width), pixels.
      batch_size: images in a batch.
      num_threads: threads that decode.

    Yields:
      images u8[batch_size, height, width, 3] and valid bool[batch_size]: the last batch is filled
      up with its last image, which is not valid there.
    """
    images, count = np.empty((batch_size, *size, 3), np.uint8), 0
    for example in _in_order(split, num_threads):
        images[count] = resize_image(example.image, size)
        count += 1
        if count == batch_size:
            yield images, np.ones(batch_size, bool)
            images, count = np.empty_like(images), 0
    if count:
        images[count:] = images[count - 1]
        yield images, np.arange(batch_size) < count


def read_masks(
    split: Split,
    size: tuple[int, int],
    *,
    num_threads: int = 4,
    note: Callable[[str], object] | None = None,
) -> np.ndarray | None:
    """Read all masks of a split into memory, resized.

    Args:
      split: n examples.
      size: (height, width), pixels.
      num_threads: threads that decode.
      note: called with one line if regions of masks vanish at this size.

    Returns:
      bool[n, height, width], True where anomalous, in the order of the split; None if an
      anomalous example has no mask.
    """
    masks = np.empty((len(split), *size), np.bool_)
    vanished, regions, first = 0, 0, ""
    for i, example in enumerate(_in_order(split, num_threads)):
        if example.mask is None:
            return None
        masks[i] = resize_mask(example.mask, size)
        if note is not None:
            gone, there = count_vanished(example.mask, size)
            first = example.name if gone and not vanished else first
            vanished, regions = vanished + gone, regions + there
    if note is not None and vanished:
        note(
            f"{vanished} of {regions} regions of the masks vanish at {size[0]} x {size[1]}, the "
            f"first in {first}; a mask that would become empty keeps every pixel that it touches; "
            "a larger config.data.image_size keeps all regions"
        )
    return masks


def train_iterator(
    split: Split,
    *,
    size: tuple[int, int],
    batch_size: int,
    seed: int,
    augmentation: grain.transforms.RandomMap | None = None,
    num_threads: int = 4,
    cache: bool = True,
) -> grain.DatasetIterator:
    """Iterate over shuffled batches without end.

    Epoch e consists of the n // batch_size batches `epoch_batches(n, batch_size, seed, e)`: it
    visits each image at most once, and the remainder is left out (another one in each epoch).
    The batches depend only on the seed, not on the threads. `get_state()` gives a
    JSON-able position, `set_state(position)` of any iterator made with the same arguments
    continues there exactly, without reading what came before.

    Args:
      split: n examples.
      size: (height, width), pixels.
      batch_size: images in a batch.
      seed: of the order and of the augmentation.
      augmentation: random map over {"image": u8[height, width, 3]}, drawn again in each epoch; from
        `AUGMENTATIONS`.
      num_threads: threads that decode, resize and augment.
      cache: whether to read all images at once and keep them, resized, in memory (3 n height
        width bytes); otherwise they are decoded again in each epoch.

    Returns:
      An iterator over {"image": u8[batch_size, height, width, 3]}.

    Raises:
      InputError: if the split has fewer images than a batch.
    """
    order = _Order(len(split), batch_size, seed)
    if cache:
        images = read_images(split, size, num_threads=num_threads)
        dataset = grain.MapDataset.source(order).map(lambda i: {"image": images[i]})
    else:
        dataset = grain.MapDataset.source(order).map(
            lambda i: {"image": resize_image(split[i].image, size)}
        )
    if augmentation is not None:
        dataset = dataset.random_map(augmentation, seed=seed)
    # Threads prefetch elements of the last stage, here batches: a few of them are enough.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    return iter(dataset.batch(batch_size, drop_remainder=True).to_iter_dataset(options))


def epoch_batches(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Give the order of one epoch of training.

    A pure function, so training on features that were computed once sees the same batches as
    training on images.

    Args:
      n: number of examples.
      batch_size: examples in a batch.
      seed: of the order.
      epoch: which epoch, from 0.

    Returns:
      i64[n // batch_size, batch_size]: distinct numbers below n.

    Raises:
      InputError: if there are fewer examples than a batch has.
    """
    if not 1 <= batch_size <= n:
        raise InputError(
            f"batch_size must be from 1 to the number of training images, {n}, got {batch_size}; "
            "set a smaller batch_size or add images"
        )
    steps = n // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[: steps * batch_size].reshape(steps, batch_size).astype(np.int64)


class _Order:
    """The endless order of training, as a source for grain: position -> index of an example."""

    def __init__(self, n: int, batch_size: int, seed: int):
        self._epoch = functools.lru_cache(maxsize=4)(
            lambda epoch: epoch_batches(n, batch_size, seed, epoch).reshape(-1)
        )
        self._epoch_length = len(self._epoch(0))

    def __len__(self) -> int:
        # Training never reaches it, and grain wants a length.
        return 2**60

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(int(position), self._epoch_length)
        return int(self._epoch(epoch)[offset])


def _in_order(split: Split, num_threads: int) -> Iterator[Example]:
    if len(split) == 0:
        return iter(())
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 * num_threads)
    return iter(grain.MapDataset.source(split).to_iter_dataset(options))
