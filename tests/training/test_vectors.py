"""Training on groups of feature vectors: against PyTorch, a plain loop, and itself resumed."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxflow.detectors import LOSSES, FlowDetector, FlowPyramid
from jaxflow.errors import InputError
from jaxflow.flows import CFlowDecoder, from_freia
from jaxflow.parallel import BATCH, PMAP, REPLICATED
from jaxflow.training import (
    OPTIMIZERS,
    RATES,
    check_vectors,
    create_state,
    make_vector_step,
    separately,
)
from jaxflow.training.step import step_key

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "cflow_step.npz"
ADAM = separately(OPTIMIZERS["adam_l2"](2e-4, 0.0))
SHAPES = ((2, 4, 5, 6), (2, 3, 3, 4))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@functools.cache
def make_detector(maps=2, condition="position", normalization="none"):
    pyramid = FlowPyramid(CFlowDecoder(steps=2), maps, normalization, condition, condition_dim=8)
    return FlowDetector(None, pyramid)


@functools.cache
def make_step(detector, vectors, **more):
    """Make a step once, so that it is compiled once."""
    detector = dataclasses.replace(detector, loss=LOSSES["log_sigmoid"])
    return make_vector_step(detector, ADAM, vectors=vectors, **more)


def take(detector, state, batches, vectors, **more):
    """Take a step on each batch; return the final state of one device, and the losses."""
    step = make_step(detector, vectors, **more)
    replicated, losses = PMAP.replicate(state), []
    for batch in batches:
        replicated, value = step(replicated, {}, PMAP.shard(batch))
        losses.append(float(PMAP.gather(value, REPLICATED)))
    return PMAP.gather(replicated, REPLICATED), losses


def draw_variables(detector, maps):
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in maps]
    return dict(detector.pyramid.lazy_init(jax.random.key(0), shapes))


@pytest.fixture(scope="module")
def maps():
    noise = np.random.default_rng(0)
    return tuple(noise.standard_normal(shape).astype(np.float32) for shape in SHAPES)


@pytest.fixture(scope="module")
def state(maps):
    variables = draw_variables(make_detector(), maps)
    return jax.tree.map(np.asarray, create_state(variables, ADAM, seed=1))


@pytest.mark.parametrize("steps", [1, 3])
def test_optimizer_steps_equal_those_of_pytorch(steps):
    with np.load(FIXTURE) as data:
        arrays = dict(data)

    def variables_of(prefix):
        freia = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
        converted = from_freia(freia)
        return {collection: {"flows_0": tree} for collection, tree in converted.items()}

    before, after = variables_of("before/"), variables_of(f"after{steps}/")
    x = arrays["x"]
    state, _ = take(
        make_detector(maps=1), create_state(before, ADAM, 0), [(x,)] * steps, x[..., 0].size
    )
    got, expected, start = (
        leaves(tree) for tree in (state.params, after["params"], before["params"])
    )
    moved = max(np.abs(a - b).max() for a, b in zip(expected, start, strict=True))
    assert moved > 1e-4
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, 0, 1e-3 * moved)
    assert (
        np.mean([np.abs(a - b).mean() for a, b in zip(got, expected, strict=True)]) < 1e-4 * moved
    )


def test_scan_over_groups_equals_a_loop_of_optimizer_steps(maps, state):
    detector, vectors = make_detector(), 7
    got, losses = take(detector, state, [maps], vectors)
    draw = PMAP.run(
        lambda state, _: jax.random.key_data(step_key(state)), (REPLICATED, BATCH), REPLICATED
    )
    drawn = draw(PMAP.replicate(state), PMAP.shard(maps[:1]))
    key = jax.random.wrap_key_data(PMAP.gather(drawn, REPLICATED))
    params, moments, nats = dict(state.params), dict(state.optimizer_state), 0.0
    adam = OPTIMIZERS["adam_l2"](2e-4, 0.0)
    for i, x in enumerate(maps):
        name, (b, h, w, c) = f"flows_{i}", x.shape
        flow = CFlowDecoder(steps=2)
        code = jnp.broadcast_to(detector.pyramid.code(h, w), (b, h, w, 8)).reshape(-1, 8)

        @jax.jit
        def value_and_gradient(params, constants, x, code, flow=flow, c=c):
            def mean(params):
                variables = {"params": params, "constants": constants}
                z, log_det = flow.apply(variables, x, code, method="forward_and_log_det")
                log_prob = log_det - (0.5 * z**2 + 0.5 * np.log(2 * np.pi)).sum(-1)
                return -jnp.log(1 / (1 + jnp.exp(-log_prob / c))).mean(), log_prob.mean()

            return jax.value_and_grad(mean, has_aux=True)(params)

        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, i), b * h * w))
        groups = [order[k : k + vectors] for k in range(0, b * h * w - vectors + 1, vectors)]
        means = []
        for index in groups:
            (_, log_prob), gradient = value_and_gradient(
                params[name], state.constants[name], x.reshape(-1, c)[index], code[index]
            )
            updates, moments[name] = adam.update(gradient, moments[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
            means.append(float(log_prob))
        assert len(groups) == b * h * w // vectors
        nats -= h * w * np.mean(means)
    for a, b in zip(leaves(got.params), leaves(params), strict=True):
        np.testing.assert_allclose(a, b, 0, 1e-6)
    np.testing.assert_allclose(losses, [nats / sum(x[0].size for x in maps)], 1e-5)
    counts = {n: int(s[1][0].count) for n, s in got.optimizer_state.items()}
    assert counts == {"flows_0": 5, "flows_1": 2}
    assert int(got.step) == 1


def test_order_comes_from_key_and_step_alone(maps, state):
    first, _ = take(make_detector(), state, [maps] * 2, 7)
    half, _ = take(make_detector(), state, [maps], 7)
    second, _ = take(make_detector(), half, [maps], 7)
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
    other, _ = take(make_detector(), state.replace(step=np.int32(5)), [maps], 7)
    assert any(
        (a != b).any() for a, b in zip(leaves(other.params), leaves(half.params), strict=True)
    )


def test_eight_devices_share_each_group_and_stay_equal(start, assert_equal_on_devices, tmp_path):
    run = start(tmp_path / "eight.npz", "--steps", 2, "--vectors", 40, devices=8)
    assert run.wait() == 0, run.stderr.read()
    with np.load(tmp_path / "eight.npz") as data:
        got = dict(data)
    assert_equal_on_devices(got, 8)
    (count,) = {int(array[0]) for name, array in got.items() if name.endswith(".count")}
    assert count == 2 * (8 * 4 * 6 // 40)
    assert int(got[".step"][0]) == 2


def test_two_processes_share_each_group_as_two_devices_do(start, coordinator, tmp_path):
    groups = ("--epochs", 1, "--vectors", 40)
    two = ("--coordinator", coordinator, "--processes", 2, "--process")
    runs = [start(tmp_path / "two", *groups, *two, number) for number in (0, 1)]
    runs.append(start(tmp_path / "one", *groups, devices=2))
    for run in runs:
        assert run.wait() == 0, run.stderr.read()
    first, second = (dict(np.load(tmp_path / "two" / f"final{number}.npz")) for number in (0, 1))
    for name, expected in np.load(tmp_path / "one" / "final0.npz").items():
        np.testing.assert_array_equal(first[name], second[name], name)
        np.testing.assert_allclose(first[name], expected, 0, 1e-6, err_msg=name)


def test_without_a_condition_no_position_is_known(maps):
    detector = make_detector(condition="none")
    variables = draw_variables(detector, maps)
    latents = detector.latents(variables, maps)
    turned = detector.latents(variables, [x[:, ::-1, ::-1] for x in maps])
    for a, b in zip(latents, turned, strict=True):
        np.testing.assert_allclose(a.log_prob(), b.log_prob()[:, ::-1, ::-1], 0, 1e-5)


def test_the_condition_tells_the_position(maps, state):
    detector, variables = make_detector(), state.variables
    latents = detector.latents(variables, maps)
    turned = detector.latents(variables, [x[:, ::-1, ::-1] for x in maps])
    for a, b in zip(latents, turned, strict=True):
        assert np.abs(a.log_prob() - b.log_prob()[:, ::-1, ::-1]).max() > 1e-4


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("nll", 6.0), ("nll_per_dimension", 2.0), ("log_sigmoid", np.log(1 + np.exp(2.0)))],
)
def test_loss_of_a_vector_equals_its_formula(loss, expected):
    np.testing.assert_allclose(LOSSES[loss].of_vectors(jnp.float32(-6.0), 3), expected, 1e-6)


def test_standardizing_constants_count_in_the_loss(maps):
    plain, standard = make_detector(), make_detector(normalization="standardize")
    variables = draw_variables(standard, maps)
    constants = dict(variables["constants"])
    for i, x in enumerate(maps):
        width = x.shape[-1]
        constants[f"normalizations_{i}"] = {"mean": jnp.zeros(width), "std": jnp.full(width, 2.0)}
    variables["constants"] = constants
    state = create_state(variables, ADAM, 1)
    _, (doubled,) = take(standard, state, [tuple(2.0 * x for x in maps)], 7)
    _, (once,) = take(plain, state, [maps], 7)
    np.testing.assert_allclose(doubled, once + np.log(2.0), 1e-5)


def test_whitening_leaves_the_image_out_in_training_and_not_in_validation(maps):
    detector = make_detector(normalization="whiten")
    variables = draw_variables(detector, maps)
    constants = dict(variables["constants"])
    for i, x in enumerate(maps):
        name = f"normalizations_{i}"
        seen_two = {"images": jnp.asarray(2.0), "own": jnp.full(x.shape[1:3], 0.5)}
        constants[name] = {**constants[name], **seen_two}
    variables["constants"] = constants
    state = create_state(variables, ADAM, 1)
    _, (seen,) = take(detector, state, [maps], 18, rate=lambda step: 0.0 * step)
    _, expected = detector.objective(variables, maps, jax.random.key(0))
    # All but 4 of 40 vectors of the first map are in a group.
    np.testing.assert_allclose(seen, expected.mean(), 2e-2)
    new = detector.likelihood.nats(variables, maps).mean()
    assert abs(seen - new) > 0.1 * abs(new)


def test_groups_train_a_mixture_as_base_with_its_flow(maps):
    detector = make_detector()
    pyramid = detector.pyramid.clone(components=3)
    detector = dataclasses.replace(detector, pyramid=pyramid)
    variables = detector.pyramid.lazy_init(
        jax.random.key(0), maps, method=type(detector.pyramid).latents
    )
    state = create_state(dict(variables), ADAM, 1)
    _, (seen,) = take(detector, state, [maps], 18, rate=lambda step: 0.0 * step)
    _, expected = detector.objective(dict(variables), maps, jax.random.key(0))
    np.testing.assert_allclose(seen, expected.mean(), 2e-2)
    trained, _ = take(detector, state, [maps], 18)
    for name in ("bases_0", "bases_1"):
        for before, after in zip(
            leaves(state.params[name]), leaves(trained.params[name]), strict=True
        ):
            assert np.abs(after - before).max() > 1e-5


def test_rate_rises_from_a_tenth_and_falls_to_a_thousandth():
    rate = RATES["cosine_warmup"](10, 4, 2)
    values = np.array([float(rate(step)) for step in range(41)])
    cosine = 0.001 + 0.999 * 0.5 * (1 + np.cos(np.pi * np.arange(41) / 40))
    np.testing.assert_allclose(values[8:], cosine[8:], 1e-4)
    np.testing.assert_allclose(values[:9], np.linspace(0.1, cosine[8], 9), 1e-5)
    assert [float(RATES["constant"](10, 4, 2)(step)) for step in (0, 40)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="^warm-up epochs must be fewer than the 2 epochs"):
        RATES["cosine_warmup"](2, 4, 2)


def test_rate_scales_the_optimizer_step(maps, state):
    whole, _ = take(make_detector(), state, [maps], 18)
    tenth, _ = take(make_detector(), state, [maps], 18, rate=lambda step: 0.1 + 0.0 * step)
    flow = "flows_1"  # One group, so one optimizer step.
    for before, a, b in zip(*(leaves(s.params[flow]) for s in (state, whole, tenth)), strict=True):
        np.testing.assert_allclose(b - before, 0.1 * (a - before), 1e-2, 1e-7)


def test_group_larger_than_a_batch_of_a_map_is_refused(maps, state):
    with pytest.raises(ValueError, match="groups of 19 vectors: a batch's map has only 18"):
        take(make_detector(), state, [maps], 19)
    with pytest.raises(InputError, match="^key 19: the feature map of 3 x 3 has only 18 vectors"):
        check_vectors("key", 19, 2, [(4, 5), (3, 3)])
    check_vectors("key", 18, 2, [(4, 5), (3, 3)])
