import numpy as np
import pytest

from jaxflow.training import FeatureBatches, ImageBatches, KeptFeatures, make_validation


@pytest.fixture(scope="module")
def encoder(tiny):
    return tiny.make_encoder()


@pytest.fixture(scope="module")
def split(tiny):
    return tiny.make_split(11, 4)


def test_kept_features_come_in_the_order_of_images(tiny, encoder, split):
    images = ImageBatches(encoder, split, tiny.SIZE, batch_size=4, seed=7)
    features = FeatureBatches(KeptFeatures(encoder, split, tiny.SIZE), batch_size=4, seed=7)
    for _ in range(5):  # Two epochs of two, and one more.
        expected = encoder(encoder.variables, next(images))
        for got, want in zip(next(features), expected, strict=True):
            np.testing.assert_allclose(got, want, 0, 1e-5)


def test_epochs_differ(tiny, encoder, split):
    batches = FeatureBatches(KeptFeatures(encoder, split, tiny.SIZE), batch_size=4, seed=7)
    first, second = ([next(batches)[0] for _ in range(2)] for _ in range(2))
    assert not np.array_equal(first, second)


def test_position_goes_on_in_any_epoch(tiny, encoder, split):
    features = KeptFeatures(encoder, split, tiny.SIZE)
    batches = FeatureBatches(features, batch_size=4, seed=7)
    sequence, states = [], []
    for _ in range(5):
        states.append(batches.get_state())
        sequence.append(next(batches)[0])
    for start in (4, 1, 3):
        batches.set_state(states[start])
        np.testing.assert_array_equal(next(batches)[0], sequence[start])


def test_kept_features_on_disk_equal_those_in_memory(tiny, encoder, split):
    in_memory = KeptFeatures(encoder, split, tiny.SIZE)
    on_disk = KeptFeatures(encoder, split, tiny.SIZE, host_limit=100)
    assert (in_memory.place, on_disk.place) == ("host", "disk")
    assert isinstance(on_disk.maps[0], np.memmap)
    indices = np.array([3, 0, 10])
    for a, b in zip(in_memory.take(indices), on_disk.take(indices), strict=True):
        np.testing.assert_array_equal(a, b)


def test_kept_features_on_disk_leave_no_file(tiny, encoder, split, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    features = KeptFeatures(encoder, split, tiny.SIZE, host_limit=100)
    assert list(tmp_path.iterdir()) == []
    assert features.take(np.array([1]))[0].any()


def test_no_images_held_out_is_no_error(tiny, encoder):
    features = KeptFeatures(encoder, tiny.make_split(0, 0), tiny.SIZE)
    assert len(features) == 0


@pytest.mark.parametrize("batch_size", [1, 4, 5, 8])
def test_validation_is_the_mean_over_images_whatever_the_batch(
    tiny, kept, encoder, split, batch_size
):
    def nats(variables, batch):
        return batch.mean((1, 2, 3))

    maps = KeptFeatures(encoder, split, tiny.SIZE).maps[0].copy()
    validate = make_validation(nats, lambda i: maps[i], 5, batch_size)
    state = kept.devices.replicate(kept.state)
    np.testing.assert_allclose(validate(state), maps[:5].mean(), 1e-5)
