"""The clock of training: compilation is not in it, work is."""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxflow.training import Clock


def slow_to_trace(x):
    time.sleep(0.3)
    return x + 1


def test_compilation_is_not_counted_and_work_is():
    inner = jax.jit(slow_to_trace)
    with Clock() as clock:
        jax.jit(lambda x: inner(x) * 2)(jnp.ones(3)).block_until_ready()
        compiled = clock.seconds
        time.sleep(0.2)
    assert compiled < 0.2
    assert 0.2 <= clock.seconds - compiled < 0.3 + compiled


def test_spans_that_lie_in_each_other_count_once(monkeypatch):
    now = iter([0.0, 10.0])
    monkeypatch.setattr(time, "time", lambda: next(now))
    with Clock() as clock:
        clock._add("/jax/core/compile/inner", 2.0, 3.0)
        clock._add("/jax/core/compile/outer", 1.0, 4.0)
        clock._add("/jax/core/compile/next", 4.0, 5.0)
        clock._add("/jax/other", 5.0, 9.0)
    assert clock.seconds == pytest.approx(6.0)


def test_a_clock_that_has_stopped_stands():
    with Clock() as clock:
        pass
    before = clock.seconds
    jax.jit(slow_to_trace)(jnp.ones(4)).block_until_ready()
    assert clock.seconds == before
