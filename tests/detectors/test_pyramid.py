"""A flow for each feature map: both directions, its conditions, and what it does not take."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detectors import (
    FlowDetector,
    FlowPyramid,
    latent_term,
    nll,
    probability,
    volume_term,
)
from jaxflow.errors import InputError
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.config import cflow_config
from jaxflow.flows import (
    NORMALIZATIONS,
    ActNorm,
    CFlowDecoder,
    Chain,
    CrossMapConditioner,
    CrossMapCoupling,
    FastFlow2D,
    Glow2D,
    HierarchicalMixture,
    PerMap,
)
from jaxflow.training import run_passes


@pytest.fixture
def build(perturb):
    """Make a pyramid with perturbed variables, its maps, and run(method, maps, condition)."""

    def build(name):
        pyramid = FlowPyramid(CFlowDecoder(steps=1), 2, name, "position", 4)
        maps = [jnp.linspace(-1.0, 1.0, 16).reshape(1, 2, 2, 4), jnp.ones((1, 1, 2, 3))]
        variables = dict(jax.jit(pyramid.init)(jax.random.key(0), maps))
        variables["params"] = perturb(variables["params"], 0.1)
        variables["constants"] = {
            key: jax.tree.map(lambda x: x + 0.5, tree) if "normalization" in key else tree
            for key, tree in variables["constants"].items()
        }

        def run(method, *arguments):
            return jax.jit(functools.partial(pyramid.apply, method=method))(variables, *arguments)

        return pyramid, maps, run

    return build


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_pyramid_is_a_bijection_where_its_normalization_is(build, name):
    pyramid, maps, run = build(name)
    normalized, _ = run("normalize", maps)
    z, log_det = run("forward_and_log_det", maps)
    for got, expected in zip(run("restore", z), normalized, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    if not pyramid.bijective:
        with pytest.raises(ValueError, match="^(LayerNorm|AveragePool) has no inverse"):
            run("inverse", z)
        return
    back, back_log_det = run("inverse_and_log_det", z)
    for got, expected in zip(back, maps, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    for got, expected in zip(back_log_det, log_det, strict=True):
        np.testing.assert_allclose(got, -expected, atol=1e-4)


def test_a_condition_that_is_given_takes_the_place_of_the_named_one(build):
    pyramid, maps, run = build("none")
    codes = pyramid.codes(maps)
    others = tuple(1.0 - code for code in codes)
    z, changed = run("__call__", maps), run("__call__", maps, others)
    for got, expected in zip(run("__call__", maps, codes), z, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not np.allclose(changed[0], z[0], atol=1e-3)
    for got, expected in zip(run("inverse", changed, others), maps, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_joint_flow_takes_all_maps_and_is_used_as_it_is(perturb):
    coupling = CrossMapCoupling(CrossMapConditioner(hidden_ratio=4.0))
    assert coupling.joint
    assert not FastFlow2D().joint
    pyramid = FlowPyramid(Chain([coupling, PerMap(ActNorm(), maps=2)]), 2, "standardize")
    maps = [jax.random.normal(jax.random.key(i), (1, 4 - i, 4, 4)) for i in range(2)]
    variables = dict(jax.jit(pyramid.init)(jax.random.key(2), maps))
    variables["params"] = perturb(variables["params"], 0.3)
    assert list(variables["params"]) == ["flows"]
    run = jax.jit(functools.partial(pyramid.apply, method="forward_and_log_det"))
    z, log_det = run(variables, maps)
    assert [each.shape for each in log_det] == [(1, 4, 4), (1, 3, 4)]
    # The finer map's latent depends on the coarser map.
    assert not np.allclose(run(variables, [maps[0], maps[1] + 1.0])[0][0], z[0], atol=1e-3)
    back, back_log_det = jax.jit(functools.partial(pyramid.apply, method="inverse_and_log_det"))(
        variables, z
    )
    for got, expected in zip((*back, *back_log_det), (*maps, *log_det), strict=True):
        np.testing.assert_allclose(got, expected if got.ndim == 4 else -expected, atol=1e-4)


def test_the_start_of_a_flow_is_that_of_the_first_valid_images():
    pyramid = FlowPyramid(Glow2D(steps=2), 1, "standardize")
    maps = np.asarray(5.0 + 3.0 * jax.random.normal(jax.random.key(0), (40, 2, 2, 4)))
    batches = [
        ((np.concatenate([maps[i : i + 8], np.full_like(maps[:1], 1e3)]),), np.arange(9) < 8)
        for i in range(0, 40, 8)
    ]
    start = dict(jax.jit(pyramid.init)(jax.random.key(1), (maps[:1],)))
    passes = FlowDetector(None, pyramid).before
    assert len(passes) == 2
    assert len(FlowDetector(None, FlowPyramid(FastFlow2D(), 1)).before) == 0
    variables = run_passes(passes, {"last": start}, batches)["last"]
    z = jax.jit(pyramid.apply)(variables, (maps[:32],))[0]
    # The first affine map standardizes, the linear maps are rotations, the couplings the identity.
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=0.01)
    np.testing.assert_allclose(np.cov(z.reshape(-1, 4).T, bias=True).trace(), 4.0, rtol=0.01)


def test_a_flow_of_whole_maps_takes_no_groups_of_vectors():
    config = cflow_config()
    config.model.flow = "msflow"
    with pytest.raises(
        InputError, match=r"256: msflow looks at whole .*flow to cflow or autoregressive$"
    ):
        check_config(config)


def test_a_mixture_as_base_is_in_the_likelihood_and_in_every_score():
    noise = np.random.default_rng(0)
    maps = [jnp.asarray(noise.standard_normal((3, 4, 4, c)), jnp.float32) for c in (4, 6)]
    flow = FastFlow2D(steps=1)
    plain, mixed = (FlowPyramid(flow, 2, "none", components=k) for k in (1, 3))
    variables = jax.jit(functools.partial(mixed.init, method="latents"))(jax.random.key(0), maps)
    params = {k: v for k, v in variables["params"].items() if not k.startswith("bases")}
    assert jax.tree.structure(params) == jax.tree.structure(
        dict(jax.eval_shape(plain.init, jax.random.key(0), maps)["params"])
    )
    latents = mixed.apply(variables, maps, method="latents")
    for i, latent in enumerate(latents):
        base = HierarchicalMixture(3)
        own = {"params": variables["params"][f"bases_{i}"]}
        expected = base.apply(own, latent.z, method="log_prob") + latent.log_det
        np.testing.assert_allclose(latent.log_prob(), expected, rtol=1e-5)
        both = latent_term(latent) + volume_term(latent)
        np.testing.assert_allclose(nll(latent), both, rtol=1e-5, atol=1e-5)
        order = np.argsort(probability(latent).ravel())
        assert (np.diff(np.asarray(latent_term(latent)).ravel()[order]) > -1e-5).all()
    # Centres in one place, at 0, are the standard normal.
    bases = [name for name in variables["params"] if name.startswith("bases")]
    zeros = jax.tree.map(jnp.zeros_like, {name: variables["params"][name] for name in bases})
    same = mixed.apply({**variables, "params": params | zeros}, maps, method="latents")
    normal = plain.apply({**variables, "params": params}, maps, method="latents")
    for a, b in zip(same, normal, strict=True):
        np.testing.assert_allclose(a.log_prob(), b.log_prob(), rtol=1e-5)
        np.testing.assert_allclose(probability(a), probability(b), rtol=1e-4, atol=1e-6)


def test_latents_are_drawn_from_the_base():
    pyramid = FlowPyramid(FastFlow2D(steps=1), 1, "none", components=2)
    maps = [jnp.zeros((1, 2, 2, 4))]
    variables = pyramid.init(jax.random.key(0), maps, method="latents")
    far = {"centre": jnp.full(4, 50.0), "deltas": jnp.zeros((1, 4)), "log_weights": jnp.zeros(2)}
    variables = {**variables, "params": {**variables["params"], "bases_0": far}}
    (z,) = pyramid.apply(variables, jax.random.key(1), [(20, 5, 5, 4)], method="draw")
    np.testing.assert_allclose([z.mean(), z.std()], [50.0, 1.0], atol=0.1)


@pytest.mark.parametrize(
    ("flow", "maps", "message"),
    [
        (FastFlow2D(), [(1, 2, 2, 2)], "x must hold 2 maps, got 1"),
        (FastFlow2D(), [(2, 2), (2, 2)], "feature_maps[0] must be f[b, h, w, c], got shape (2, 2)"),
        (FastFlow2D, [(1, 2, 2, 2)] * 2, "flow must be a flow, got the class FastFlow2D"),
        (FastFlow2D(base=3), [(1, 2, 2, 2)] * 2, "flow must have a standard normal base, got 3"),
    ],
)
def test_what_no_pyramid_takes_is_named(flow, maps, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        FlowPyramid(flow, maps=2).init(jax.random.key(0), [jnp.ones(shape) for shape in maps])
