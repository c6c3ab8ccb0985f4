"""Scoring: batch after batch, in memory or in a file, compiled once."""

import jax
import numpy as np
import pytest

from jaxflow.detectors import FlowDetector
from jaxflow.detectors.flow import flow_detector
from jaxflow.detectors.scorer import Scorer
from jaxflow.detectors.scratch import scratch
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.flows import FastFlow2D
from jaxflow.parallel import PMAP, SHARDED

SIZE = (32, 32)
COUNT = 11


@pytest.fixture(scope="module")
def detector() -> FlowDetector:
    encoder = load_encoder("resnet18", stages=(1,), weights="random")
    return flow_detector(encoder, FastFlow2D(steps=1))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def selections(detector):
    return {name: detector.init(jax.random.key(i), SIZE) for i, name in enumerate(("last", "best"))}


def batches(images, size):
    return (images[start : start + size] for start in range(0, len(images), size))


@pytest.mark.parametrize("memory", [2**30, 0])
@pytest.mark.parametrize("size", [4, 3, COUNT])
def test_batch_after_batch_gives_what_all_together_give(detector, images, selections, size, memory):
    scorer = Scorer(detector, 4)
    placed = scorer.place(selections)
    together = scorer(placed, images)
    apart = scorer.all(placed, batches(images, size), COUNT, memory)
    assert set(apart) == {"last", "best"}
    for name, by_score in apart.items():
        assert list(by_score) == list(detector.scores)
        for score, (maps, scores) in by_score.items():
            assert isinstance(maps, np.memmap) == (memory == 0)
            np.testing.assert_allclose(maps, together[name][score].anomaly_map, 1e-4, 1e-5)
            np.testing.assert_allclose(scores, together[name][score].anomaly_score, 1e-4, 1e-5)
    assert not np.array_equal(*(apart[n]["nll"].anomaly_score for n in ("last", "best")))


def test_both_ways_to_share_work_give_the_same(detector, images, selections):
    one, other = (
        scorer(scorer.place(selections), images)
        for scorer in (Scorer(detector, 4, devices) for devices in (PMAP, SHARDED))
    )
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 1e-5, 1e-6)


@pytest.mark.parametrize("devices", [PMAP, SHARDED], ids=["pmap", "sharded"])
def test_it_compiles_for_one_image_and_for_a_batch_whatever_comes(
    detector, images, selections, devices
):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: compiled.append(event) if "backend_compile" in event else None
    )
    scorer = Scorer(detector, 4, devices)
    placed = scorer.place({"last": selections["last"]})
    scorer(placed, images[:1])
    scorer(placed, images[:4])
    assert len(compiled) >= 2
    compiled.clear()
    for count in (1, 2, 3, 4, 7, COUNT):
        scorer(placed, images[:count])
    list(scorer.all(placed, batches(images, 3), COUNT))
    assert compiled == []


def test_the_encoder_compiles_once_for_a_shape(detector, images):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: compiled.append(event) if "backend_compile" in event else None
    )
    encoder = detector.encoder
    encoder.compiled(encoder.variables, images[:5])
    compiled.clear()
    encoder.compiled(encoder.variables, images[5:10])
    assert compiled == []


def test_a_disk_without_room_is_one_line():
    with pytest.raises(InputError, match="no room for anomaly maps, .* GiB: .*; make room") as e:
        scratch((2**45,), on_disk=True, what="anomaly maps")
    assert "\n" not in str(e.value)
