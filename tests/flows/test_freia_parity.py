import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import CFlowDecoder, FastFlow2D, from_freia

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
MAPS = {
    "fastflow_3-1_even": FastFlow2D(steps=3, kernel_sizes=(3, 1)),
    "fastflow_3-3_odd": FastFlow2D(steps=2, kernel_sizes=(3, 3)),
    "fastflow_3-1_half": FastFlow2D(steps=2, kernel_sizes=(3, 1), hidden_ratio=0.5),
}
VECTORS = {"cflow_even": CFlowDecoder(steps=3), "cflow_odd": CFlowDecoder(steps=2)}


def read(name):
    """Read a fixture that FrEIA 0.2 wrote: arrays by name, and the converted variables."""
    with np.load(FIXTURES / f"{name}.npz") as data:
        arrays = dict(data)
    state = {key[6:]: value for key, value in arrays.items() if key.startswith("param/")}
    return arrays, from_freia(state)


def run(flow, method, *arguments):
    return jax.jit(functools.partial(flow.apply, method=method))(*arguments)


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", MAPS)
def test_fastflow_equals_freia(name):
    arrays, variables = read(name)
    x, z = (jnp.asarray(arrays[key].transpose(0, 2, 3, 1)) for key in ("x", "z"))
    got, log_det = run(MAPS[name], "forward_and_log_det", variables, x)
    assert relative(got, z) < 1e-5
    assert relative(log_det.sum((1, 2)), arrays["log_det"]) < 1e-5
    back, back_log_det = run(MAPS[name], "inverse_and_log_det", variables, z)
    assert relative(back, arrays["x_back"].transpose(0, 2, 3, 1)) < 1e-5
    assert relative(back_log_det.sum((1, 2)), arrays["back_log_det"]) < 1e-5


@pytest.mark.parametrize("name", VECTORS)
def test_cflow_decoder_equals_freia(name):
    arrays, variables = read(name)
    x, condition, z = (jnp.asarray(arrays[key]) for key in ("x", "condition", "z"))
    flow = VECTORS[name]
    got, log_det = run(flow, "forward_and_log_det", variables, x, condition)
    assert relative(got, z) < 1e-5
    assert relative(log_det, arrays["log_det"]) < 1e-5
    back, back_log_det = run(flow, "inverse_and_log_det", variables, z, condition)
    assert relative(back, x) < 1e-5
    assert relative(back_log_det, -arrays["log_det"]) < 1e-5


def test_the_newer_clamp_differs_from_the_fixture():
    arrays, variables = read("fastflow_3-1_even")
    x = jnp.asarray(arrays["x"].transpose(0, 2, 3, 1))
    flow = FastFlow2D(steps=3, kernel_sizes=(3, 1), log_scale="unit_slope_tanh")
    _, log_det = run(flow, "forward_and_log_det", variables, x)
    assert relative(log_det.sum((1, 2)), arrays["log_det"]) > 1e-2
