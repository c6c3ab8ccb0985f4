import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxflow.parallel import REPLICATED
from jaxflow.training import (
    OPTIMIZERS,
    Checkpoints,
    create_state,
    make_train_step,
)


def leaves(tree):
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def assert_close(got, expected, tolerance=1e-5):
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], 0, tolerance, err_msg=name)


def by(tiny, parts):
    """Return the flag that makes a process share work among devices as these parts do."""
    (name,) = (name for name, devices in tiny.DEVICES.items() if devices is parts.devices)
    return ("--devices", name)


def test_eight_devices_equal_one_and_each_other(
    tiny, either, start, assert_equal_on_devices, tmp_path
):
    eight = start(tmp_path / "eight.npz", "--steps", 3, *by(tiny, either), devices=8)
    expected = leaves(tiny.take_steps(either, 3)[0])
    assert eight.wait() == 0, eight.stderr.read()
    with np.load(tmp_path / "eight.npz") as data:
        got = dict(data)
    assert_equal_on_devices(got, 8)
    assert_close({name: array[:1] for name, array in got.items()}, expected)
    moved = [not np.array_equal(expected[n][0], v) for n, v in leaves(either.state).items()]
    assert any(moved)


@pytest.mark.parametrize("vectors", [0, 40])
def test_both_ways_take_the_same_steps(tiny, vectors):
    # Not to the last bit: XLA fuses some operations otherwise around the axis that pmap adds.
    results = [
        tiny.take_steps(tiny.make_parts(False, vectors, devices), 3)
        for devices in tiny.DEVICES.values()
    ]
    (one, one_losses), (other, other_losses) = results
    assert_close(leaves(one), leaves(other), 1e-6)
    np.testing.assert_allclose(one_losses, other_losses, 1e-6)


def test_two_processes_go_on_from_a_checkpoint_as_one_does(
    tiny, either, start, coordinator, tmp_path
):
    for name in ("one", "two"):
        tiny.make_trainer(either, tmp_path / name, epochs=1).run(either.state)
    two = ("--epochs", 3, "--coordinator", coordinator, "--processes", 2, "--process")
    runs = [start(tmp_path / "two", *by(tiny, either), *two, number) for number in (0, 1)]
    expected = leaves(tiny.make_trainer(either, tmp_path / "one").run(either.state))
    for run in runs:
        assert run.wait() == 0, run.stderr.read()
    got = [dict(np.load(tmp_path / "two" / f"final{number}.npz")) for number in (0, 1)]
    for name in expected:
        np.testing.assert_array_equal(got[0][name], got[1][name], name)
    assert_close(got[0], expected)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 3
    restored = Checkpoints(tmp_path / "two" / "checkpoints", read_only=True).restore_latest(
        either.state
    )
    assert_close(leaves(restored.state), got[0], 0)


def test_step_is_adam_on_the_mean_over_images_of_the_sum_over_dimensions(tiny, kept):
    encoder = tiny.make_encoder()
    detector = tiny.make_detector(encoder)
    maps = next(kept.make_batches())
    constants = kept.state.constants

    def mean_of_sums(params):
        ((z, log_det, _),) = detector.latents({"params": params, "constants": constants}, maps)
        sums = 0.5 * (z**2).sum((1, 2, 3)) + 0.5 * z[0].size * np.log(2 * np.pi)
        return (sums - log_det.sum((1, 2))).mean(), z[0].size

    gradient_of = jax.jit(jax.value_and_grad(mean_of_sums, has_aux=True))
    (value, size), gradient = gradient_of(kept.state.params)
    optimizer = OPTIMIZERS["adam_l2"](1e-2, 1e-5)
    updates, _ = optimizer.update(gradient, optimizer.init(kept.state.params), kept.state.params)
    expected = optax.apply_updates(kept.state.params, updates)
    state, losses = tiny.take_steps(kept, 1)
    np.testing.assert_allclose(losses[0], value / size, 1e-5)
    assert_close({n: v[0] for n, v in leaves(state.params).items()}, leaves(expected))


def test_gradient_equals_finite_differences(tiny):
    with jax.enable_x64(True):
        flow = tiny.FastFlow2D(
            steps=1,
            param_dtype=jnp.float64,
            output_init=nn.initializers.normal(0.5),
        )
        detector = tiny.FlowDetector(tiny.make_encoder(), tiny.FlowPyramid(flow, maps=1))
        maps = (jax.random.normal(jax.random.key(1), (2, 3, 4, 4), jnp.float64),)
        variables = jax.jit(detector.pyramid.init)(jax.random.key(0), maps)
        flat, unravel = jax.flatten_util.ravel_pytree(variables["params"])
        objective = detector.objective

        @jax.jit
        def loss(flat):
            now = {"params": unravel(flat), "constants": variables["constants"]}
            return objective(now, maps, jax.random.key(2))[0].mean()

        direction = jax.random.normal(jax.random.key(3), flat.shape, flat.dtype)
        step = 1e-5 * direction
        difference = (loss(flat + step) - loss(flat - step)) / 2e-5
        np.testing.assert_allclose(jax.jit(jax.grad(loss))(flat) @ direction, difference, 1e-7)


def test_loss_falls_and_constants_stay(tiny, kept):
    state, losses = tiny.take_steps(kept, 8)
    assert np.mean(losses[-2:]) < np.mean(losses[:2]) - 0.02
    before = leaves(kept.state.constants)
    assert before
    assert_close({n: v[0] for n, v in leaves(state.constants).items()}, before, 0)
    np.testing.assert_array_equal(np.asarray(state.step), [8])
    np.testing.assert_array_equal(np.asarray(state.key)[0], kept.state.key)


def test_state_gives_its_memory_away(either):
    state = either.devices.replicate(either.state)
    batch = either.devices.shard(next(either.make_batches()))
    after, _ = either.train_step(state, {}, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


@pytest.mark.parametrize("way", ["pmap", "sharded"])
def test_every_step_draws_another_key(tiny, way):
    devices = tiny.DEVICES[way]

    def objective(variables, batch, key):
        return variables["params"] * 0.0 + batch, jnp.full(1, jax.random.uniform(key))

    optimizer = OPTIMIZERS["adam_l2"](0.1, 0.0)
    step = make_train_step(objective, optimizer, devices=devices)
    draws = []
    for seed in (0, 0, 1):
        state = devices.replicate(create_state({"params": jnp.zeros(())}, optimizer, seed))
        for _ in range(2):
            state, draw = step(state, {}, devices.shard(np.zeros(1, np.float32)))
            draws.append(float(devices.gather(draw, REPLICATED)))
    assert draws[:2] == draws[2:4]
    assert len(set(draws)) == 4


def test_adam_l2_equals_torch():
    # torch.optim.Adam([p], lr=0.1, weight_decay=0.3), float64, PyTorch 2.
    params = np.array([1.0, -2.0, 0.5])
    gradients = [[0.1, -0.2, 0.0], [-0.4, 0.3, 1.0], [0.05, 0.0, -2.0]]
    expected = [
        [0.900000002, -1.900000001, 0.400000007],
        [0.859288869, -1.812709155, 0.317353995],
        [0.796152469, -1.721383192, 0.339719171],
    ]
    with jax.enable_x64(True):
        optimizer = OPTIMIZERS["adam_l2"](0.1, 0.3)
        params = jnp.asarray(params)
        state = optimizer.init(params)
        for gradient, row in zip(gradients, expected, strict=True):
            updates, state = optimizer.update(jnp.asarray(gradient), state, params)
            params = optax.apply_updates(params, updates)
            np.testing.assert_allclose(params, row, 0, 1e-8)
