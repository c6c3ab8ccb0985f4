"""The dict of named flows that every contract test runs over."""

import dataclasses
import functools
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow import flows as jaxflow_flows
from jaxflow.experiments.user_files import run_file
from jaxflow.flows import (
    ActNorm,
    AttentionConditioner,
    AutoregressiveFlow,
    AveragePool,
    CFlowDecoder,
    Chain,
    CheckerboardCoupling,
    Conjugate,
    ConvConditioner,
    Coupling,
    CrossMapConditioner,
    CrossMapCoupling,
    CSFlow,
    DenseConditioner,
    DifferNet,
    FastFlow2D,
    GlobalAffine,
    Glow2D,
    Haar,
    HardPermutation,
    Householder,
    Identity,
    Inverse,
    InvertibleLinear,
    Jet,
    Joined,
    LayerNorm,
    MaskedAutoregressive,
    MSFlow,
    PerMap,
    Radial,
    RationalQuadraticSpline,
    SoftPermutation,
    Split,
    Squeeze,
    Standardize,
    SwapHalves,
    UShapedFlow,
    Whiten,
)

# Small, and the same for most: whatever runs without jit is then compiled once for all.
MAP, VECTOR = (2, 4, 4), (4,)
TWO_MAPS = ((2, 4, 4), (1, 2, 4))


@dataclasses.dataclass(frozen=True)
class Member:
    """A flow of the dict.

    `make(dtype)` builds it. Shapes are those of one input, or a tuple of such shapes; log_det is
    "varying" with the input, "constant" or "zero"; a deep flow repeats the code of others and is
    only tested for exactness.
    """

    make: Callable
    shape: tuple = MAP
    condition: tuple | None = None
    log_det: str = "varying"
    deep: bool = False


def _fastflow(**options):
    return lambda dtype: FastFlow2D(param_dtype=dtype, **options)


def _cflow(**options):
    return lambda dtype: CFlowDecoder(param_dtype=dtype, **options)


def _conv(dtype, **options):
    return Coupling(ConvConditioner(param_dtype=dtype), **options)


def _dense(dtype, **options):
    return Coupling(DenseConditioner(param_dtype=dtype), **options)


def _step(dtype):
    return Chain([_conv(dtype), GlobalAffine(dtype), SoftPermutation(dtype)])


def _mixed_chain(dtype):
    additive = FastFlow2D(steps=1, coupling="additive", param_dtype=dtype)
    return Chain([FastFlow2D(steps=1, param_dtype=dtype), Chain([Identity(), additive])])


def _cross_grid_chain(dtype):
    return Chain([_dense(dtype), Squeeze(), GlobalAffine(dtype), Inverse(Haar()), _conv(dtype)])


def _multi_scale(dtype):
    coarser = Chain([Squeeze(), _dense(dtype)])
    parts = PerMap([SoftPermutation(dtype), coarser])
    return Chain([GlobalAffine(dtype), Squeeze(), _conv(dtype), Split(), parts])


def _per_map(dtype):
    return PerMap(CFlowDecoder(steps=1, param_dtype=dtype), maps=2)


def _masked(dtype, **options):
    return MaskedAutoregressive(param_dtype=dtype, **options)


def _linear(dtype, **options):
    return InvertibleLinear(param_dtype=dtype, **options)


def _checkerboard(dtype, **options):
    conditioner = AttentionConditioner(8, heads=2, param_dtype=dtype)
    return CheckerboardCoupling(conditioner, **options)


def _jet(dtype):
    return Jet(steps=3, width=8, heads=2, param_dtype=dtype)


def _cross_map(dtype, **options):
    return CrossMapCoupling(CrossMapConditioner(hidden_ratio=4.0, param_dtype=dtype), **options)


def _cross_map_chain(dtype):
    mix = PerMap(SoftPermutation(dtype), maps=2)
    return Chain([_cross_map(dtype), mix, _cross_map(dtype, coupling="spline")])


def _msflow(dtype):
    return MSFlow(parallel_steps=(1, 1), param_dtype=dtype)


def _u_shaped(dtype, **options):
    return UShapedFlow(steps=1, param_dtype=dtype, **options)


def _cs_flow(dtype, **options):
    return CSFlow(steps=1, hidden_ratio=2.0, param_dtype=dtype, **options)


def _differnet(dtype):
    return DifferNet(steps=1, hidden_ratio=2.0, param_dtype=dtype)


def _joined(dtype):
    return Joined(CFlowDecoder(steps=1, param_dtype=dtype))


def _deep_spline(dtype):
    step = _dense(dtype, coupling="spline"), SoftPermutation(dtype)
    return Chain([link.clone() for _ in range(20) for link in step])


def _deep_masked(dtype):
    step = _masked(dtype), SoftPermutation(dtype)
    return Chain([link.clone() for _ in range(20) for link in step])


def _example(name):
    """Return what a file of examples/ defines, and leave the registry as it was."""
    before = dict(jaxflow_flows.FLOWS)
    path = pathlib.Path(__file__).parents[2] / "examples" / f"{name}.py"
    defined, _ = run_file(str(path), f"example_{name}")
    jaxflow_flows.FLOWS.clear()
    jaxflow_flows.FLOWS.update(before)
    return defined


_GLOW = _example("glow_flow")["Glow"]

FLOWS = {
    "identity": Member(lambda dtype: Identity(), log_det="zero"),
    "identity_of_two_maps": Member(lambda dtype: Identity(), TWO_MAPS, log_det="zero"),
    "global_affine": Member(GlobalAffine, log_det="constant"),
    "act_norm": Member(ActNorm, log_det="constant"),
    "invertible_linear": Member(_linear, log_det="constant"),
    "invertible_linear_from_identity": Member(
        functools.partial(_linear, start="identity"), (5,), log_det="constant"
    ),
    "invertible_linear_from_permutation": Member(
        functools.partial(_linear, start="permutation"), (2, 6), log_det="constant"
    ),
    "householder": Member(lambda dtype: Householder(3, dtype), log_det="zero"),
    "hard_permutation": Member(lambda dtype: HardPermutation(), log_det="zero"),
    "soft_permutation": Member(SoftPermutation, log_det="zero"),
    "standardize": Member(lambda dtype: Standardize(), log_det="constant"),
    "radial": Member(lambda dtype: Radial(), (2, 3, 5)),
    "whiten": Member(lambda dtype: Whiten(), (2, 3, 4)),
    "radial_whiten": Member(lambda dtype: Whiten(exponent=0.5), (2, 3, 4)),
    "layer_norm": Member(lambda dtype: LayerNorm(), log_det="zero"),
    "layer_norm_affine": Member(lambda dtype: LayerNorm(affine=True), log_det="zero"),
    "squeeze": Member(lambda dtype: Squeeze(), log_det="zero"),
    "haar": Member(lambda dtype: Haar(), log_det="zero"),
    "split": Member(lambda dtype: Split(), log_det="zero"),
    "split_in_three": Member(lambda dtype: Split(3), (2, 6), log_det="zero"),
    "join": Member(lambda dtype: Inverse(Split()), (MAP, MAP), log_det="zero"),
    "conv_coupling": Member(_conv),
    "dense_coupling": Member(functools.partial(_dense, clamp=1.0), VECTOR, condition=(2,)),
    "additive_coupling": Member(functools.partial(_conv, coupling="additive"), log_det="zero"),
    "gin_coupling": Member(functools.partial(_conv, coupling="gin"), (2, 4, 6), log_det="zero"),
    "unclamped_coupling": Member(functools.partial(_conv, log_scale="unclamped")),
    "conv_spline": Member(functools.partial(_conv, coupling="spline")),
    "dense_spline": Member(
        functools.partial(_dense, coupling=RationalQuadraticSpline(bins=4, bound=2.0)),
        VECTOR,
        condition=(2,),
    ),
    "masked_autoregressive": Member(_masked, (5,)),
    "masked_autoregressive_given": Member(
        functools.partial(_masked, log_scale="unit_slope_tanh"), condition=(2, 4, 3)
    ),
    "autoregressive_flow": Member(
        lambda dtype: AutoregressiveFlow(steps=2, param_dtype=dtype), (5,)
    ),
    "sigmoid_coupling": Member(functools.partial(_conv, coupling="sigmoid")),
    "checkerboard_coupling": Member(_checkerboard),
    "checkerboard_given": Member(
        functools.partial(_checkerboard, swapped=True, coupling="sigmoid"),
        (2, 3, 6),
        condition=(2, 3, 2),
    ),
    "jet": Member(_jet),
    "cross_map_coupling": Member(_cross_map, TWO_MAPS),
    "cross_map_chain": Member(_cross_map_chain, TWO_MAPS, ((2, 4, 3), (1, 2, 3))),
    "swap_halves": Member(lambda dtype: SwapHalves(), (2, 3, 5), log_det="zero"),
    "arctan_coupling": Member(functools.partial(_conv, log_scale="arctan")),
    "average_pool": Member(lambda dtype: AveragePool(), (2, 4, 4), log_det="zero"),
    "msflow": Member(_msflow, ((2, 3, 10), (1, 2, 14)), ((2, 3, 2), (1, 2, 2))),
    "cs_flow": Member(_cs_flow, ((3, 4, 4), (2, 2, 5), (1, 1, 4))),
    "cs_flow_given": Member(_cs_flow, TWO_MAPS, ((2, 4, 3), (1, 2, 3))),
    "differnet": Member(_differnet, ((1, 1, 4), (1, 1, 3))),
    "joined": Member(_joined, ((2, 4, 3), (2, 4, 2)), ((2, 4, 2), (2, 4, 3))),
    "u_shaped": Member(_u_shaped, ((4, 4, 3), (2, 2, 7), (1, 1, 8))),
    "u_shaped_uniform": Member(
        functools.partial(_u_shaped, coupling="additive", permutation="linear", conjugate=True),
        ((2, 4, 3), (1, 2, 8)),
        ((2, 4, 2), (1, 2, 2)),
        log_det="constant",
    ),
    "inverse_coupling": Member(lambda dtype: Inverse(_dense(dtype)), (7,)),
    "conjugate_coupling": Member(lambda dtype: Conjugate(_dense(dtype), _linear(dtype)), (5,)),
    "step_of_parts": Member(_step),
    "mixed_chain": Member(_mixed_chain),
    "cross_grid_chain": Member(_cross_grid_chain),
    "multi_scale": Member(_multi_scale, (4, 4, 2)),
    "per_map": Member(_per_map, TWO_MAPS, ((2, 4, 4), (1, 2, 4))),
    "fastflow_3_1": Member(_fastflow(steps=2, kernel_sizes=(3, 1))),
    "fastflow_odd_soft": Member(
        _fastflow(steps=1, kernel_sizes=(3,), permutation="soft", log_scale="unit_slope_tanh"),
        (2, 4, 5),
    ),
    "fastflow_two_channels": Member(
        _fastflow(steps=1, kernel_sizes=(5,), hidden_ratio=3.0), (3, 3, 2)
    ),
    "fastflow_half_additive": Member(
        _fastflow(steps=1, hidden_ratio=0.5, coupling="additive"), log_det="constant"
    ),
    "fastflow_gin": Member(
        _fastflow(steps=1, coupling="gin", log_scale="unclamped"), log_det="constant"
    ),
    "fastflow_uniform": Member(
        _fastflow(steps=2, coupling="additive", permutation="linear"), log_det="constant"
    ),
    "fastflow_uniform_conjugate": Member(
        _fastflow(steps=2, coupling="additive", permutation="linear", conjugate=True),
        log_det="constant",
    ),
    "fastflow_conditional": Member(_fastflow(steps=1, kernel_sizes=(3, 3)), condition=(2, 4, 2)),
    "fastflow_20_steps": Member(_fastflow(steps=20), (2, 3, 6), deep=True),
    "cflow": Member(_cflow(steps=2), VECTOR, condition=(8,)),
    "cflow_on_a_map": Member(_cflow(steps=1), (2, 4, 5), condition=(2, 4, 4)),
    "uflow_hard": Member(_cflow(steps=1, permutation="hard"), VECTOR),
    "uflow_additive": Member(_cflow(steps=1, coupling="additive"), VECTOR, log_det="constant"),
    "glow_2d": Member(lambda dtype: Glow2D(steps=2, param_dtype=dtype)),
    "glow_by_hand": Member(lambda dtype: _GLOW(steps=1, param_dtype=dtype)),
    "uflow_uniform": Member(
        _cflow(steps=1, coupling="additive", permutation="linear"), VECTOR, log_det="constant"
    ),
    "cflow_uniform_conjugate": Member(
        _cflow(steps=2, coupling="additive", permutation="linear", conjugate=True),
        VECTOR,
        condition=(8,),
        log_det="constant",
    ),
    "spline_20_steps": Member(_deep_spline, (6,), deep=True),
    "masked_autoregressive_20_steps": Member(_deep_masked, (6,), deep=True),
    "cflow_20_steps": Member(_cflow(steps=20), (6,), condition=(4,), deep=True),
}
BIJECTIONS = {name: m for name, m in FLOWS.items() if m.make(np.float32).bijective}


def _positive_triangles(rng, shape):
    lower = np.tril(0.5 * rng.standard_normal(shape), -1)
    return lower + np.eye(shape[-1]) * rng.uniform(0.5, 2.0, shape[:-1])[..., None]


# Name of a variable -> a draw of it, (random numbers, shape) -> array.
DRAWS = {
    "kernel": lambda rng, shape: rng.standard_normal(shape) * float(np.prod(shape[:-1])) ** -0.5,
    "bias": lambda rng, shape: 0.3 * rng.standard_normal(shape),
    "theta": lambda rng, shape: 9.98 + rng.standard_normal(shape),
    "offset": lambda rng, shape: 0.3 * rng.standard_normal(shape),
    "scale": lambda rng, shape: rng.uniform(0.5, 2.0, shape),
    "mean": lambda rng, shape: 0.3 * rng.standard_normal(shape),
    "std": lambda rng, shape: rng.uniform(0.5, 2.0, shape),
    "log_scale": lambda rng, shape: 0.3 * rng.standard_normal(shape),
    "lu": lambda rng, shape: 0.5 * rng.standard_normal(shape) * shape[0] ** -0.5,
    "whitening": lambda rng, shape: _positive_triangles(rng, shape),
    "images": lambda rng, shape: np.full(shape, 20.0),
    "own": lambda rng, shape: rng.uniform(0.2, 0.9, shape),
    "vectors": lambda rng, shape: rng.standard_normal(shape),
    "code": lambda rng, shape: 0.3 * rng.standard_normal(shape),
    "index": lambda rng, shape: rng.permutation(shape[0]),
    "rotation": lambda rng, shape: np.linalg.qr(rng.standard_normal(shape))[0],
}


def _is_shape(value):
    return isinstance(value, tuple) and not any(isinstance(each, tuple) for each in value)


def draw(shape, batch=2, seed=0):
    """Draw f64[batch, *shape], or a tuple of such arrays where shape is one; None stays None."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.standard_normal((batch, *s)), shape, is_leaf=_is_shape)


@dataclasses.dataclass
class Case:
    """A flow with drawn variables and a batch of 2 inputs, in one dtype.

    What is computed in float64 stands in `with case.precision():`. `run` and `run_back` are jitted:
    (params, x, condition) to (z, log_det) and its inverse.
    """

    member: Member
    dtype: type
    flow: Any
    variables: dict
    x: Any
    condition: Any

    def __post_init__(self):
        back = functools.partial(self.on_params, method="inverse_and_log_det")
        self.run = jax.jit(self.on_params)
        self.run_back = jax.jit(back)

    def precision(self):
        return jax.enable_x64(self.dtype == np.float64)

    @property
    def params(self):
        return self.variables["params"]

    @property
    def first(self):
        """The first input, and its condition, as batches of one."""
        return jax.tree.map(lambda a: a[:1], (self.x, self.condition))

    @functools.cached_property
    def outputs(self):
        """The shapes and dtypes of z and log_det."""
        return jax.eval_shape(self.on_params, self.params, self.x, self.condition)

    def on_params(self, params, x, condition, method="forward_and_log_det"):
        variables = {**self.variables, "params": params}
        return self.flow.apply(variables, x, condition, method=method)

    def log_prob(self, params, x, condition):
        """Return the log-likelihood of all inputs together."""
        values = self.on_params(params, x, condition, method="log_prob")
        return sum(value.sum() for value in jax.tree.leaves(values))

    def forward(self, x):
        return self.run(self.params, x, self.condition)

    def inverse(self, z):
        return self.run_back(self.params, z, self.condition)


def draw_variables(flow, x, condition):
    """Draw variables far from the start, where a flow is all but the identity; compiles nothing."""

    def draw(path, leaf):
        rng = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        return jnp.asarray(DRAWS[path[-1].key](rng, leaf.shape), leaf.dtype)

    shapes = jax.eval_shape(flow.init, jax.random.key(0), x, condition)
    variables = jax.tree_util.tree_map_with_path(draw, dict(shapes))
    return {"params": {}, "constants": {}, **variables}


@functools.cache
def _build(member, dtype):
    with jax.enable_x64(dtype == np.float64):
        flow = member.make(dtype)
        x, condition = draw(member.shape), draw(member.condition, seed=1)
        x, condition = (jax.tree.map(lambda a: jnp.asarray(a, dtype), v) for v in (x, condition))
        return Case(member, dtype, flow, draw_variables(flow, x, condition), x, condition)


@pytest.fixture
def build():
    """Give the maker of cases: build(member, np.float32 or np.float64)."""
    return _build


@pytest.fixture
def flows():
    """Give the dict itself."""
    return FLOWS


@pytest.fixture(name="draw")
def _draw():
    return draw


@pytest.fixture(name="draw_variables")
def _draw_variables():
    return draw_variables


def pytest_generate_tests(metafunc):
    """Run a test over the dict: `member` is each flow, `bijection` each with an inverse.

    `shallow` is each but the deep ones.
    """
    shallow = {name: member for name, member in FLOWS.items() if not member.deep}
    for name, members in {"member": FLOWS, "bijection": BIJECTIONS, "shallow": shallow}.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, members.values(), ids=members.keys())
