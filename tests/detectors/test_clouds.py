"""Vectors of a flow: which are picked, what they are called, and what is sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detectors import FlowDetector, FlowPyramid, Gaussian
from jaxflow.detectors.clouds import check_latents, draw_clouds, touched
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.flows import AveragePool, CFlowDecoder, Chain, FastFlow2D

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("resnet18", stages=(1,), weights="random")


@pytest.fixture(scope="module")
def detector(encoder):
    flow = CFlowDecoder(steps=2, permutation="hard")
    return FlowDetector(encoder, FlowPyramid(flow, maps=1, normalization="none"))


@pytest.fixture(scope="module")
def variables(detector, perturb):
    drawn = detector.init(jax.random.key(1), (32, 32))
    return {**drawn, "params": perturb(drawn["params"], 0.05)}


def test_a_position_is_anomalous_where_a_mask_touches_it():
    masks = np.zeros((2, 9, 12), bool)
    masks[0, 8, 11] = masks[1, 2, 0] = masks[1, 3, 0] = True
    expected = np.zeros((2, 3, 3), bool)
    expected[0, 2, 2] = expected[1, 0, 0] = expected[1, 1, 0] = True
    np.testing.assert_array_equal(touched(masks, (3, 3)), expected)


def test_vectors_are_those_of_their_positions_and_few_of_each_kind(detector, variables):
    maps = (jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 64)), jnp.float32),)
    masks = np.zeros((2, 32, 32), bool)
    masks[1, 8:12, 4:28] = True
    (clouds,) = draw_clouds(detector, variables, maps, masks, KEY, count=20)
    normal, anomalous = (clouds.features.vectors[clouds.features.anomalous == k] for k in (0, 1))
    assert (len(normal), len(anomalous)) == (20, 6)
    order = np.argsort(anomalous[:, 0])
    expected = np.asarray(maps[0][1, 2, 1:7])
    np.testing.assert_array_equal(anomalous[order], expected[np.argsort(expected[:, 0])])
    z = detector.latents(variables, maps)[0].z[1, 2, 1:7]
    latents = clouds.latents.vectors[clouds.latents.anomalous]
    np.testing.assert_allclose(latents[np.argsort(latents[:, 0])], z[np.argsort(z[:, 0])], 1e-4)


def test_sampled_features_have_standard_normal_latents(detector, variables):
    maps = (jnp.zeros((8, 8, 8, 64)),)
    (clouds,) = draw_clouds(detector, variables, maps, np.zeros((8, 32, 32), bool), KEY)
    z = detector.latents(variables, (clouds.sampled.reshape(1, 16, 32, 64)[:1],))[0].z
    assert np.abs(clouds.sampled.std(0) - 1).max() > 0.1
    np.testing.assert_allclose(np.asarray(z).mean((0, 1, 2)), 0, atol=0.2)
    np.testing.assert_allclose(np.asarray(z).std((0, 1, 2)), 1, atol=0.2)


def test_what_has_no_latents_or_no_inverse_is_refused(encoder, detector):
    assert check_latents(detector) is detector
    with pytest.raises(InputError, match=r"^Gaussian: .*: has no latents; train a flow$"):
        check_latents(Gaussian(encoder))
    pooled = FlowPyramid(Chain([AveragePool(), FastFlow2D(steps=1)]), maps=1)
    with pytest.raises(InputError, match="the flow has no inverse to sample with"):
        check_latents(FlowDetector(encoder, pooled))
