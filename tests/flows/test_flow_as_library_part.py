"""Flows under JAX's other transformations and settings.

Every flow of the dict is traced under each; numbers are compared for a few that hold all parts.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export

from jaxflow.flows import (
    CFlowDecoder,
    FastFlow2D,
    GlobalAffine,
    SoftPermutation,
    flow_distribution,
    position_encoding,
    position_log_prob,
)


@pytest.fixture
def case(member, build):
    """Give a perturbed flow of the dict; that of 20 steps has the code of two."""
    if member.steps > 3:
        pytest.skip("the same code as fewer steps")
    return build(member, np.float32)


@pytest.fixture(params=["fastflow_conditional", "mixed_chain", "cflow"])
def chosen(request, flows, build):
    """Give one of three perturbed flows that have all parts together."""
    return build(flows[request.param], np.float32)


def log_prob(case, params, x, condition):
    return position_log_prob(*case.on_params(params, x, condition)).sum()


def towards(tree):
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype), tree)


def test_every_flow_has_forward_and_second_derivatives(case):
    def hessian_vector_product(params, x, condition):
        gradient = jax.grad(functools.partial(log_prob, case), (0, 1))
        return jax.jvp(lambda p, v: gradient(p, v, condition), (params, x), (params, x))

    def jacobian(x):
        return jax.jacfwd(lambda x: log_prob(case, case.params, x, case.condition))(x)

    arguments = case.params, case.x, case.condition
    values, products = jax.eval_shape(hessian_vector_product, *arguments)
    assert jax.tree.structure(values) == jax.tree.structure(products)
    assert jax.eval_shape(jacobian, case.x).shape == case.x.shape


def test_forward_mode_equals_reverse_mode(chosen, quick):
    of = functools.partial(log_prob, chosen)
    primals = chosen.params, chosen.x, chosen.condition
    tangents = towards(primals)

    @functools.partial(jax.jit, compiler_options=quick)
    def both(primals, tangents):
        _, forward = jax.jvp(of, primals, tangents)
        gradients = jax.grad(of, (0, 1, 2) if primals[2] is not None else (0, 1))(*primals)
        products = jax.tree.map(lambda g, v: (g * v).sum(), gradients, tangents[: len(gradients)])
        return forward, sum(jax.tree.leaves(products))

    forward, reverse = both(primals, tangents)
    np.testing.assert_allclose(forward, reverse, rtol=1e-3)


def test_second_derivatives_are_symmetric(chosen, quick):
    of = functools.partial(log_prob, chosen, chosen.params, condition=chosen.condition)
    u, v = towards(chosen.x), chosen.x[::-1]

    @functools.partial(jax.jit, compiler_options=quick)
    def products(x):
        return [jax.jvp(jax.grad(of), (x,), (t,))[1] for t in (u, v)]

    of_u, of_v = products(chosen.x)
    assert np.abs(of_u).max() > 1e-3
    scale = np.abs(of_u * v).sum()
    np.testing.assert_allclose((of_u * v).sum(), (of_v * u).sum(), atol=1e-4 * scale)


def test_linearize_jacfwd_and_hessian_of_the_default_flow(quick):
    flow = FastFlow2D(steps=2)
    x = jax.random.normal(jax.random.key(0), (1, 2, 2, 4))
    variables = flow.init(jax.random.key(1), x)

    def of(x):
        return position_log_prob(*flow.apply(variables, x, method="forward_and_log_det")).sum()

    @functools.partial(jax.jit, compiler_options=quick)
    def derivatives(x):
        return jax.grad(of)(x), jax.jacfwd(of)(x), jax.linearize(of, x)[1](x), jax.hessian(of)(x)

    gradient, forward, along, hessian = derivatives(x)
    np.testing.assert_allclose(forward, gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(along, (gradient * x).sum(), rtol=1e-3)
    hessian = np.asarray(hessian).reshape(x.size, x.size)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-4)


def test_the_gradients_of_no_inputs_are_zeros(chosen, quick):
    first = [None if a is None else a[:0] for a in (chosen.x, chosen.condition)]
    gradient = jax.jit(jax.grad(functools.partial(log_prob, chosen)), compiler_options=quick)
    for leaf in jax.tree.leaves(gradient(chosen.params, *first)):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_a_gradient_exported_with_a_symbolic_batch_is_the_gradient(chosen, quick):
    gradient = jax.jit(jax.grad(functools.partial(log_prob, chosen)), compiler_options=quick)
    scope = export.SymbolicScope()

    def symbolic(a):
        return jax.ShapeDtypeStruct(
            export.symbolic_shape(f"b,{','.join(map(str, a.shape[1:]))}", scope=scope), a.dtype
        )

    inputs = chosen.x, chosen.condition
    exported = export.export(jax.jit(jax.grad(functools.partial(log_prob, chosen))))(
        chosen.params, *jax.tree.map(symbolic, inputs)
    )
    got = exported.call(chosen.params, *inputs)
    for ours, expected in zip(
        jax.tree.leaves(got), jax.tree.leaves(gradient(chosen.params, *inputs)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


def test_every_gradient_takes_no_inputs(case):
    gradient = jax.grad(functools.partial(log_prob, case))
    first = [None if a is None else a[:0] for a in (case.x, case.condition)]
    got = jax.eval_shape(gradient, case.params, *first)
    assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, case.params)


def test_nothing_promotes_the_rank_of_an_array(case):
    with jax.numpy_rank_promotion("raise"):
        start = jax.eval_shape(case.flow.init, jax.random.key(0), case.x, case.condition)
        jax.eval_shape(
            jax.value_and_grad(functools.partial(log_prob, case)),
            case.params, case.x, case.condition,
        )  # fmt: skip
        inverse = functools.partial(case.on_params, method="inverse_and_log_det")
        jax.eval_shape(inverse, case.params, case.x, case.condition)
        if case.condition is not None:  # One condition for the whole batch.
            jax.eval_shape(inverse, case.params, case.x, case.condition[0])
    assert set(start) == {"params", "constants"}


@pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")
def test_position_code_and_distribution_promote_no_rank():
    with jax.numpy_rank_promotion("raise"):
        code = position_encoding(2, 3, 8)
        flow, x = CFlowDecoder(steps=1), jnp.ones((4, 2, 3, 6))
        variables = flow.init(jax.random.key(0), x, code)
        distribution = flow_distribution(flow, variables, (2, 3, 6), code)
        assert jax.eval_shape(distribution.log_prob, x).shape == (4,)
        draw = functools.partial(distribution.sample_and_log_prob, sample_shape=(5,))
        sample, density = jax.eval_shape(lambda key: draw(seed=key), jax.random.key(1))
        assert (sample.shape, density.shape) == ((5, 2, 3, 6), (5,))


def test_flops_of_every_part_are_counted(case):
    table = nn.tabulate(
        case.flow, jax.random.key(0), compute_flops=True, compute_vjp_flops=True,
        console_kwargs={"width": 400},
    )(case.x, case.condition)  # fmt: skip
    assert "vjp_flops" in table
    assert "subnet" in table
    assert "shuffle" in table


def test_remat_scan_and_vmap_of_one_input_give_the_same_gradients(chosen, quick):
    of = functools.partial(log_prob, chosen)
    inputs = chosen.x, chosen.condition

    @functools.partial(jax.jit, compiler_options=quick)
    def gradients(params):
        each = jax.vmap(jax.grad(of), (None, 0, None if chosen.condition is None else 0))
        _, scanned = jax.lax.scan(lambda c, i: (c, jax.grad(of)(params, *i)), 0, inputs)
        plain = jax.grad(of)(params, *inputs)
        sums = [jax.tree.map(lambda g: g.sum(0), g) for g in (each(params, *inputs), scanned)]
        return plain, jax.grad(jax.checkpoint(of))(params, *inputs), *sums

    expected, *others = gradients(chosen.params)
    for other in others:
        for got, want in zip(jax.tree.leaves(other), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_parameters_of_16_bits_keep_the_inverse_exact(case, quick, dtype):
    flow = case.member.make(dtype)
    init = jax.jit(flow.init, compiler_options=quick)
    variables = init(jax.random.key(0), case.x, case.condition)
    kept = {leaf.dtype for leaf in jax.tree.leaves(variables)}
    assert kept <= {jnp.dtype(dtype), jnp.dtype(jnp.int32)}

    @functools.partial(jax.jit, compiler_options=quick)
    def there_and_back(x):
        z, log_det = flow.apply(variables, x, case.condition, method="forward_and_log_det")
        return flow.apply(variables, z, case.condition, method="inverse_and_log_det"), log_det

    (back, back_log_det), log_det = there_and_back(case.x)
    np.testing.assert_allclose(back, case.x, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("channels", [2, 64, 257])
def test_a_rotation_kept_in_16_bits_is_used_as_a_rotation(dtype, channels):
    module, x = SoftPermutation(param_dtype=dtype), jnp.eye(channels)
    variables = module.init(jax.random.key(0), x, method="forward")
    assert variables["constants"]["rotation"].dtype == dtype
    used = np.asarray(module.apply(variables, x, method="forward"), np.float64)
    np.testing.assert_allclose(used @ used.T, np.eye(channels), atol=1e-5)
    full = SoftPermutation().init(jax.random.key(0), x, method="forward")
    np.testing.assert_allclose(used.T, full["constants"]["rotation"], atol=0.02)


def test_a_global_affine_of_16_bits_is_inverted_in_float32():
    module, x = GlobalAffine(param_dtype=jnp.bfloat16), jnp.ones((2, 6))
    variables = module.init(jax.random.key(0), x, method="forward_and_log_det")
    z, log_det = module.apply(variables, x, method="forward_and_log_det")
    np.testing.assert_allclose(jnp.log(z[0]).sum(), log_det, rtol=1e-3)
    np.testing.assert_allclose(module.apply(variables, z, method="inverse_and_log_det")[0], x, 1e-6)
