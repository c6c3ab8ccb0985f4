"""The dict of named flows that every contract test runs over."""

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import (
    CFlowDecoder,
    Chain,
    ConvConditioner,
    CouplingStep,
    DenseConditioner,
    FastFlow2D,
)

QUICK = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class Member:
    """A flow of the dict: `make(dtype)` builds it, shapes are those of one input."""

    make: Callable
    shape: tuple[int, ...] = (3, 4, 6)
    condition: tuple[int, ...] | None = None
    affine: bool = True
    steps: int = 2

    @property
    def is_map(self):
        return len(self.shape) == 3


def _fastflow(**kwargs):
    return lambda dtype: FastFlow2D(param_dtype=dtype, **kwargs)


def _cflow(**kwargs):
    return lambda dtype: CFlowDecoder(param_dtype=dtype, **kwargs)


def _step(conditioner, **kwargs):
    return lambda dtype: CouplingStep(
        functools.partial(conditioner, param_dtype=dtype), param_dtype=dtype, **kwargs
    )


def _mixed_chain(dtype):
    return Chain(
        [
            FastFlow2D(steps=1, param_dtype=dtype),
            _step(ConvConditioner, permutation="soft")(dtype),
            FastFlow2D(steps=1, coupling="additive", param_dtype=dtype),
        ]
    )


FLOWS = {
    "fastflow_3_1": Member(_fastflow(steps=2, kernel_sizes=(3, 1))),
    "fastflow_3_3": Member(_fastflow(steps=2, kernel_sizes=(3, 3))),
    "fastflow_odd_channels": Member(_fastflow(steps=2, kernel_sizes=(3,)), shape=(4, 3, 5)),
    "fastflow_two_channels": Member(_fastflow(steps=2, hidden_ratio=3.0), shape=(3, 3, 2)),
    "fastflow_hidden_half": Member(_fastflow(steps=2, hidden_ratio=0.5)),
    "fastflow_kernel_5": Member(_fastflow(steps=1, kernel_sizes=(5,)), steps=1),
    "fastflow_unit_slope_tanh": Member(_fastflow(steps=2, log_scale="unit_slope_tanh")),
    "fastflow_soft": Member(_fastflow(steps=2, permutation="soft")),
    "fastflow_additive": Member(_fastflow(steps=2, coupling="additive"), affine=False),
    "fastflow_conditional": Member(_fastflow(steps=2), condition=(3, 4, 2)),
    "fastflow_20_steps": Member(_fastflow(steps=20), shape=(2, 3, 6), steps=20),
    "conv_step": Member(_step(ConvConditioner), steps=1),
    "dense_step": Member(_step(DenseConditioner), shape=(7,), steps=1),
    "mixed_chain": Member(_mixed_chain, steps=3),
    "cflow": Member(_cflow(steps=2), shape=(6,), condition=(8,)),
    "cflow_odd_channels": Member(_cflow(steps=2), shape=(7,), condition=(4,)),
    "cflow_on_a_map": Member(_cflow(steps=2), shape=(2, 3, 6), condition=(2, 3, 4)),
    "cflow_20_steps": Member(_cflow(steps=20), shape=(6,), condition=(4,), steps=20),
    "uflow": Member(_cflow(steps=2), shape=(6,)),
    "uflow_additive": Member(_cflow(steps=2, coupling="additive"), shape=(6,), affine=False),
}


def perturb(params):
    """Add noise, drawn from each leaf's name, to every parameter: away from the identity."""

    def move(path, leaf):
        rng = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        size = 0.3 if leaf.ndim == 1 else float(np.prod(leaf.shape[:-1])) ** -0.5
        return leaf + jnp.asarray(size * rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(move, params)


@dataclasses.dataclass
class Case:
    """A perturbed flow with a batch of 2 inputs, in one dtype; `with case.precision():` first.

    `run` and `run_back` are jitted: (params, x, condition) to (z, log_det) and its inverse.
    """

    member: Member
    dtype: type
    flow: object
    start: dict
    variables: dict
    x: jax.Array
    condition: jax.Array | None

    def __post_init__(self):
        back = functools.partial(self.on_params, method="inverse_and_log_det")
        # The error bounds of float32 are those of the default compiler.
        options = QUICK if self.dtype == np.float64 else None
        self.run = jax.jit(self.on_params, compiler_options=options)
        self.run_back = jax.jit(back, compiler_options=options)

    def precision(self):
        return jax.enable_x64(self.dtype == np.float64)

    @property
    def params(self):
        return self.variables["params"]

    def on_params(self, params, x, condition, method="forward_and_log_det"):
        variables = {**self.variables, "params": params}
        return self.flow.apply(variables, x, condition, method=method)

    def forward(self, x):
        return self.run(self.params, x, self.condition)

    def inverse(self, z):
        return self.run_back(self.params, z, self.condition)


@functools.cache
def _build(member, dtype):
    with jax.enable_x64(dtype == np.float64):
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.standard_normal((2, *member.shape)), dtype)
        condition = None
        if member.condition is not None:
            condition = jnp.asarray(rng.standard_normal((2, *member.condition)), dtype)
        flow = member.make(dtype)
        # Many steps initialize faster without jit: they repeat the same few operations.
        init = flow.init if member.steps > 3 else jax.jit(flow.init, compiler_options=QUICK)
        variables = init(jax.random.key(1), x, condition)
        start = variables["params"]
        variables = {**variables, "params": perturb(start)}
        return Case(member, dtype, flow, start, variables, x, condition)


@pytest.fixture
def build():
    """Give the maker of cases: build(member, np.float32 or np.float64)."""
    return _build


@pytest.fixture
def quick():
    """Give compiler options under which small programs compile three times faster."""
    return QUICK


@pytest.fixture
def flows():
    """Give the dict itself."""
    return FLOWS


@pytest.fixture(name="perturb")
def _perturb():
    return perturb


def pytest_generate_tests(metafunc):
    """Run a test that asks for `member` over the whole dict."""
    if "member" in metafunc.fixturenames:
        metafunc.parametrize("member", FLOWS.values(), ids=FLOWS.keys())
