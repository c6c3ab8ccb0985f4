"""Both ways to share work among devices do what the five words say."""

import importlib.util
import pathlib

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.parallel import BATCH, PMAP, REPLICATED, SHARDED, check_batch_size

PROGRAM = pathlib.Path(__file__).parent / "words.py"
WAYS = {"pmap": PMAP, "sharded": SHARDED}


def load_words():
    spec = importlib.util.spec_from_file_location("words", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = load_words()


def assert_as_said(got, devices, host=0, hosts=1):
    """Check what one host gathers when `devices` devices, of all hosts, take the words' steps."""
    x, count = words.EXAMPLES, len(words.EXAMPLES)
    own = slice(host * count // hosts, (host + 1) * count // hosts)
    state = words.STATE["sum"] + words.STEPS * x.mean(0)
    local = devices // hosts
    expected = {
        "local": x[own],
        "back": x[own],
        "padded": [local * -(-n // local) for n in range(1, 18)],
        "sum": state,
        "count": words.STEPS,
        "product": x[own] @ state,
        "device": np.repeat(np.arange(devices), count // devices)[own],
        "share": np.full(count // hosts, 80 // devices),
    }
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, 1e-6, err_msg=name)
        assert np.shape(got[name]) == np.shape(value), name


@pytest.fixture(params=WAYS)
def devices(request):
    return WAYS[request.param]


def test_one_device_does_what_the_words_say(devices):
    assert_as_said(words.use(devices), jax.device_count())


def test_eight_devices_do_what_the_words_say(launch, tmp_path):
    run = launch(PROGRAM, tmp_path / "eight.npz", devices=8)
    assert run.wait() == 0, run.stderr.read()
    data = dict(np.load(tmp_path / "eight.npz"))
    for way in WAYS:
        assert_as_said(of_way(data, way), 8)


def test_two_hosts_of_two_devices_do_what_the_words_say(launch, coordinator, tmp_path):
    two = ("--coordinator", coordinator, "--processes", 2, "--process")
    runs = [launch(PROGRAM, tmp_path / f"{n}.npz", *two, n, devices=2) for n in (0, 1)]
    for host, run in enumerate(runs):
        assert run.wait() == 0, run.stderr.read()
        data = dict(np.load(tmp_path / f"{host}.npz"))
        for way in WAYS:
            assert_as_said(of_way(data, way), 4, host, 2)


def of_way(data, way):
    return {name.removeprefix(f"{way}/"): x for name, x in data.items() if name.startswith(way)}


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_only_copies_give_their_memory_away(devices, make):
    tree = {"a": make(np.arange(1000.0, dtype=np.float32)), "b": make(np.float32(2))}
    state, batch = devices.replicate(tree), devices.shard(make(np.ones(8, np.float32)))
    step = devices.run(
        lambda state, batch: jax.tree.map(lambda x: x + batch.sum(), state),
        (REPLICATED, BATCH),
        REPLICATED,
        donate=(0,),
    )
    after = step(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    gathered = devices.gather(after, REPLICATED)
    step(after, batch)
    for kept, added in ((tree, 0), (gathered, 8 // jax.device_count())):
        np.testing.assert_array_equal(kept["a"], np.arange(1000.0) + added)
        np.testing.assert_array_equal(kept["b"], 2 + added)


def test_no_step_after_the_first_compiles(devices):
    names = []

    def listen(event, seconds, **facts):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(event)

    def step(state, examples):
        return words.step(state, examples)

    take = devices.run(step, (REPLICATED, BATCH), REPLICATED, donate=(0,))
    state, examples = devices.replicate(words.STATE), devices.shard(words.EXAMPLES)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state = take(state, examples)
        assert names
        names.clear()
        for _ in range(2):
            state = take(state, devices.shard(words.EXAMPLES))
        assert not names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(("count", "size", "nearest"), [(8, 12, 16), (8, 4, 8), (8, 0, 8)])
def test_batch_that_devices_cannot_share_is_refused(monkeypatch, count, size, nearest):
    monkeypatch.setattr(jax, "device_count", lambda: count)
    with pytest.raises(InputError, match=f"^batch {size}: .* such as {nearest}$"):
        check_batch_size("batch", size)
    check_batch_size("batch", 2 * count)
