"""Single layers against FrEIA's; `fixtures/make_bijections.py` says how its numbers were made."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import (
    ActNorm,
    Chain,
    Coupling,
    DenseConditioner,
    HardPermutation,
    act_norm_params,
)
from jaxflow.flows.spline import rational_quadratic

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def read(name):
    with np.load(FIXTURES / f"{name}.npz") as data:
        return {key: jnp.asarray(value) for key, value in data.items()}


def relative(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    return np.abs(got - expected).max() / np.abs(expected).max()


def test_an_act_norm_starts_from_its_input_as_in_freia():
    arrays = read("act_norm")
    first, x, z = (arrays[key].transpose(0, 2, 3, 1) for key in ("first", "x", "z"))
    params = act_norm_params(first.mean((0, 1, 2)), first.std((0, 1, 2), ddof=1))
    got, log_det = ActNorm().apply({"params": params}, x, method="forward_and_log_det")
    assert relative(got, z) < 1e-5
    assert relative(log_det.sum((1, 2)), arrays["log_det"]) < 1e-5
    assert relative(ActNorm().apply({"params": params}, z, method="inverse"), x) < 1e-5


def dense(arrays, name):
    """Return a conditioner's parameters; times 10, as s and t are not times 0.1 in FrEIA."""
    layers = {"input": (0, 1.0), "output": (2, 10.0)}
    return {
        layer: {
            "kernel": factor * arrays[f"{name}.{number}.weight"].T,
            "bias": factor * arrays[f"{name}.{number}.bias"],
        }
        for layer, (number, factor) in layers.items()
    }


def test_gin_couplings_of_both_halves_are_a_block_of_freia():
    arrays = read("gin")
    half = arrays["x"].shape[-1] // 2
    swap = {"index": jnp.roll(jnp.arange(2 * half, dtype=jnp.int32), half)}
    coupling = Coupling(DenseConditioner(hidden_ratio=8 / half), coupling="gin")
    flow = Chain([HardPermutation(), coupling.clone(), HardPermutation(), coupling.clone()])
    variables = {
        "params": {"links_1": dense(arrays, "subnet2"), "links_3": dense(arrays, "subnet1")},
        "constants": {"links_0": swap, "links_2": swap},
    }
    run = functools.partial(flow.apply, variables)
    z, log_det = jax.jit(functools.partial(run, method="forward_and_log_det"))(arrays["x"])
    assert relative(z, arrays["z"]) < 1e-5
    np.testing.assert_array_equal(log_det, 0.0)
    back = jax.jit(functools.partial(run, method="inverse"))(arrays["z"])
    assert relative(back, arrays["x_back"]) < 1e-5


@pytest.mark.parametrize(
    ("source", "target", "log_det", "inverse"),
    [("x", "z", "log_det", False), ("z", "x_back", "back_log_det", True)],
)
def test_a_rational_quadratic_spline_is_that_of_freia(source, target, log_det, inverse):
    with jax.enable_x64(True):
        arrays = read("spline")
        shape = [arrays[key] for key in ("widths", "heights", "slopes")]
        got, log_slope = rational_quadratic(arrays[source], *shape, 2.0, inverse)
        log_slope = log_slope.sum(-1)
    assert 0.05 < np.mean(np.abs(arrays["x"]) > 2.0) < 0.5
    assert relative(got, arrays[target]) < 1e-9
    assert relative(log_slope, arrays[log_det]) < 1e-9
