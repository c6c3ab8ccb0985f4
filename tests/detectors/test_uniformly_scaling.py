"""Uniformly scaling flows: one log_det for all images, and the prior on their linear maps."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxflow
from jaxflow.detectors import FlowDetector, FlowPyramid, flow_detector
from jaxflow.encoders import load_encoder
from jaxflow.experiments.checks import check_config, check_effects
from jaxflow.experiments.config import load_config
from jaxflow.experiments.detector import make_detector, make_flow
from jaxflow.flows import CFlowDecoder, FastFlow2D, log_diagonal_prior
from jaxflow.parallel import PMAP, REPLICATED
from jaxflow.training import create_state, make_vector_step, separately

CONFIGS = sorted((pathlib.Path(jaxflow.__file__).parents[1] / "configs").glob("usf_*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_flow_of_a_config_changes_the_volume_everywhere_alike(path, perturb):
    config = load_config(str(path))
    check_config(config)
    check_effects(config)
    flow = make_flow(config.model).clone(steps=2)
    x = 10.0 * jax.random.normal(jax.random.key(0), (2, 3, 3, 6))
    variables = dict(jax.jit(flow.init)(jax.random.key(1), x))
    variables["params"] = perturb(variables["params"], 0.1)
    run = jax.jit(lambda v, x: flow.apply(v, x, method="forward_and_log_det"))
    z, log_det = run(variables, x)
    assert np.ptp(log_det) == 0.0
    assert abs(float(log_det[0, 0, 0])) > 1e-3
    # It is no linear map for that.
    twice, zero = run(variables, 2.0 * x)[0], run(variables, 0.0 * x)[0]
    assert np.abs(twice - 2.0 * z + zero).max() > 1e-2


@pytest.mark.parametrize("loss", ["nll", "log_sigmoid"])
def test_the_prior_is_in_the_loss_and_not_in_the_nll(loss):
    flow = FastFlow2D(steps=1, coupling="additive", permutation="linear")
    encoder = load_encoder("resnet18", stages=(1,), weights="random")
    maps = (jax.random.normal(jax.random.key(0), (2, 2, 3, 64)),)
    plain = flow_detector(encoder, flow, loss=loss)
    variables = dict(plain.init(jax.random.key(1), (32, 32)))
    variables["params"] = jax.tree.map(lambda p: p + 0.1, variables["params"])
    given = flow_detector(encoder, flow, loss=loss, diagonal_prior=0.5)
    (with_prior, nats), (without, same) = (
        jax.jit(d.objective)(variables, maps, jax.random.key(2)) for d in (given, plain)
    )
    prior = float(log_diagonal_prior(variables["params"], std=0.5))
    added = -prior / (2 * 3 * 64 if loss == "log_sigmoid" else 1)
    np.testing.assert_allclose(with_prior - without, added, 1e-3, 1e-3 * abs(added))
    np.testing.assert_array_equal(nats, same)


def test_a_group_of_vectors_has_its_share_of_the_prior():
    flow = CFlowDecoder(steps=1, coupling="additive", permutation="linear", conjugate=True)
    maps = (jax.random.normal(jax.random.key(0), (2, 2, 3, 4)),)
    pyramid = FlowPyramid(flow, 1, "none")
    optimizer = separately(optax.sgd(1.0))
    variables = jax.jit(pyramid.init)(jax.random.key(1), maps)
    state, after = create_state(variables, optimizer, 0), []
    for prior in (0.0, 1.0):
        step = make_vector_step(
            FlowDetector(None, pyramid, diagonal_prior=prior), optimizer, vectors=12
        )
        replicated = step(PMAP.replicate(state), {}, PMAP.shard(maps))[0]
        after.append(PMAP.gather(replicated, REPLICATED).params)
    expected = jax.grad(lambda p: log_diagonal_prior(p, std=1.0))(state.params)
    moved = jax.tree.map(lambda a, b: b - a, *after)
    for got, want in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want / 6, 1e-3, 1e-5)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0.5


def test_a_prior_of_nothing_is_named():
    encoder = load_encoder("resnet18", stages=(1,), weights="random")
    detector = flow_detector(encoder, FastFlow2D(steps=1), diagonal_prior=1.0)
    with pytest.raises(ValueError, match="^diagonal_prior is of learned linear maps, which this"):
        jax.eval_shape(lambda: detector.init(jax.random.key(0), (32, 32)))
    with pytest.raises(ValueError, match="^diagonal_prior must be positive, got -1"):
        flow_detector(encoder, FastFlow2D(steps=1), diagonal_prior=-1.0)


def test_a_config_gives_the_prior_to_the_detector():
    config = load_config(str(CONFIGS[1]))
    config.encoder.weights = "random"
    encoder = load_encoder("resnet18", stages=(1, 2), weights="random")
    config.model.steps, config.data.image_size = 1, (32, 32)
    detector = make_detector(config, encoder)
    assert detector.diagonal_prior == 1.0
    assert jnp.isfinite(detector.prior({"lu": jnp.zeros((4, 4))}))
