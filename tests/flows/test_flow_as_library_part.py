"""Flows under JAX's other transformations and settings, and in Flax NNX.

Every flow of the dict is traced under each; numbers are compared for a few that hold all parts.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict
from jax import export

from jaxflow.flows import (
    CFlowDecoder,
    Chain,
    Coupling,
    DenseConditioner,
    FastFlow2D,
    GlobalAffine,
    SoftPermutation,
)


@pytest.fixture
def case(shallow, build):
    """Give each flow of the dict but the deep ones, which have the code of others."""
    return build(shallow, np.float32)


@pytest.fixture(params=["fastflow_conditional", "cross_grid_chain", "cflow"])
def chosen(request, flows, build):
    """Give one of three flows that have all parts together."""
    return build(flows[request.param], np.float32)


def towards(tree):
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype), tree)


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


def test_every_flow_has_forward_and_second_derivatives(case):
    def hessian_vector_product(params, x, condition):
        gradient = jax.grad(case.log_prob, (0, 1))
        return jax.jvp(lambda p, v: gradient(p, v, condition), (params, x), (params, x))

    arguments = case.params, case.x, case.condition
    values, products = jax.eval_shape(hessian_vector_product, *arguments)
    assert shapes(values) == shapes(products) == shapes(arguments[:2])


def test_every_flow_goes_through_scan_and_remat(case):
    def scanned(params, x, condition):
        def step(total, each):
            return total + jax.checkpoint(case.log_prob)(params, *each), None

        return jax.lax.scan(step, 0.0, (x, condition))[0]

    got = jax.eval_shape(jax.grad(scanned), case.params, case.x, case.condition)
    assert shapes(got) == shapes(case.params)


def test_every_gradient_takes_no_inputs(case):
    first = jax.tree.map(lambda a: a[:0], (case.x, case.condition))
    got = jax.eval_shape(jax.grad(case.log_prob), case.params, *first)
    assert shapes(got) == shapes(case.params)
    z, log_det = jax.eval_shape(case.on_params, case.params, *first)
    assert {leaf.shape[0] for leaf in jax.tree.leaves((z, log_det))} == {0}


def test_nothing_promotes_the_rank_of_an_array(case):
    with jax.numpy_rank_promotion("raise"):
        start = jax.eval_shape(case.flow.init, jax.random.key(0), case.x, case.condition)
        value_and_grad = jax.value_and_grad(case.log_prob)
        jax.eval_shape(value_and_grad, case.params, case.x, case.condition)
        z, log_det = jax.eval_shape(case.on_params, case.params, case.x, case.condition)
        carry = case.flow.bind(case.variables).carry_forward
        jax.eval_shape(carry, jax.tree.map(lambda a: a[..., 0], case.x))
        if case.flow.bijective:
            inverse = functools.partial(case.on_params, method="inverse_and_log_det")
            jax.eval_shape(inverse, case.params, z, case.condition)
            # One condition for the whole batch.
            jax.eval_shape(inverse, case.params, z, jax.tree.map(lambda a: a[0], case.condition))
    assert set(start) <= {"params", "constants"}


def _symbolic(tree):
    scope = export.SymbolicScope()

    def symbolic(a):
        shape = export.symbolic_shape(f"b,{','.join(map(str, a.shape[1:]))}", scope=scope)
        return jax.ShapeDtypeStruct(shape, a.dtype)

    return jax.tree.map(symbolic, tree)


def test_both_directions_are_exported_with_a_symbolic_batch(case):
    x, condition = _symbolic((case.x, case.condition))
    forward = export.export(jax.jit(case.on_params))(case.params, x, condition)
    assert {str(leaf.shape[0]) for leaf in forward.out_avals} == {"b"}
    if case.flow.bijective:
        z, condition = _symbolic((case.forward(case.x)[0], case.condition))
        back = export.export(case.run_back)(case.params, z, condition)
        assert {str(leaf.shape[0]) for leaf in back.out_avals} == {"b"}


def _in_nnx(case):
    """Return the case's flow, with its variables, as an NNX module."""
    rngs = nnx.Rngs(0)
    model = nnx.eval_shape(
        lambda: nnx.bridge.ToNNX(case.flow, rngs=nnx.Rngs(0)).lazy_init(case.x, case.condition)
    )
    graph, random, variables = nnx.split(model, nnx.RngState, ...)
    params, constants = map(flatten_dict, (case.variables["params"], case.variables["constants"]))
    given = {**params, **constants}
    assert set(nnx.to_flat_state(variables).paths) == set(given)
    filled = jax.tree_util.tree_map_with_path(
        lambda path, _: given[tuple(key.key for key in path if hasattr(key, "key"))], variables
    )
    random = jax.tree.unflatten(jax.tree.structure(random), jax.tree.leaves(nnx.state(rngs)))
    return nnx.merge(graph, random, filled)


def test_every_flow_runs_in_nnx_as_in_linen(case):
    model = _in_nnx(case)
    z, log_det = model(case.x, case.condition, method="forward_and_log_det")
    expected = case.forward(case.x)
    for got, want in zip(jax.tree.leaves((z, log_det)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    if case.flow.bijective:
        back = model(z, case.condition, method="inverse")
        for got, want in zip(jax.tree.leaves(back), jax.tree.leaves(case.x), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-4)


def test_forward_mode_equals_reverse_mode(chosen):
    primals = chosen.params, chosen.x, chosen.condition
    tangents = towards(primals)

    @jax.jit
    def both(primals, tangents):
        _, forward = jax.jvp(chosen.log_prob, primals, tangents)
        gradients = jax.grad(chosen.log_prob, (0, 1))(*primals)
        products = jax.tree.map(lambda g, v: (g * v).sum(), gradients, tangents[:2])
        return forward, sum(jax.tree.leaves(products))

    tangents = *tangents[:2], jax.tree.map(jnp.zeros_like, tangents[2])
    forward, reverse = both(primals, tangents)
    np.testing.assert_allclose(forward, reverse, rtol=1e-3)


def test_second_derivatives_are_symmetric(chosen):
    of = functools.partial(chosen.log_prob, chosen.params, condition=chosen.condition)
    u, v = towards(chosen.x), chosen.x[::-1]

    @jax.jit
    def products(x):
        return [jax.jvp(jax.grad(of), (x,), (t,))[1] for t in (u, v)]

    of_u, of_v = products(chosen.x)
    assert np.abs(of_u).max() > 1e-3
    scale = np.abs(of_u * v).sum()
    np.testing.assert_allclose((of_u * v).sum(), (of_v * u).sum(), atol=1e-4 * scale)


def test_linearize_jacfwd_and_hessian_of_the_default_flow(draw_variables):
    flow = FastFlow2D(steps=1)
    x = jax.random.normal(jax.random.key(0), (1, 2, 2, 2))
    variables = draw_variables(flow, x, None)

    def of(x):
        return flow.apply(variables, x, method="log_prob").sum()

    @jax.jit
    def derivatives(x):
        return jax.grad(of)(x), jax.jacfwd(of)(x), jax.linearize(of, x)[1](x), jax.hessian(of)(x)

    gradient, forward, along, hessian = derivatives(x)
    np.testing.assert_allclose(forward, gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(along, (gradient * x).sum(), rtol=1e-3)
    hessian = np.asarray(hessian).reshape(x.size, x.size)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-4)


def test_the_gradients_of_no_inputs_are_zeros(chosen):
    first = jax.tree.map(lambda a: a[:0], (chosen.x, chosen.condition))
    gradient = jax.jit(jax.grad(chosen.log_prob))
    for leaf in jax.tree.leaves(gradient(chosen.params, *first)):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_a_gradient_exported_with_a_symbolic_batch_is_the_gradient(chosen):
    inputs = chosen.x, chosen.condition
    gradient = jax.jit(jax.grad(chosen.log_prob))
    exported = export.export(jax.jit(jax.grad(chosen.log_prob)))(chosen.params, *_symbolic(inputs))
    got, expected = exported.call(chosen.params, *inputs), gradient(chosen.params, *inputs)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_remat_scan_and_vmap_of_one_input_give_the_same_gradients(chosen):
    of, inputs = chosen.log_prob, (chosen.x, chosen.condition)

    @jax.jit
    def gradients(params):
        each = jax.vmap(jax.grad(of), (None, 0, 0))
        _, scanned = jax.lax.scan(lambda c, i: (c, jax.grad(of)(params, *i)), 0, inputs)
        plain = jax.grad(of)(params, *inputs)
        sums = [jax.tree.map(lambda g: g.sum(0), g) for g in (each(params, *inputs), scanned)]
        return plain, jax.grad(jax.checkpoint(of))(params, *inputs), *sums

    expected, *others = gradients(chosen.params)
    for other in others:
        for got, want in zip(jax.tree.leaves(other), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_flops_of_every_part_are_counted(flows, build):
    case = build(flows["multi_scale"], np.float32)
    table = nn.tabulate(
        case.flow, jax.random.key(0), compute_flops=True, compute_vjp_flops=True,
        console_kwargs={"width": 400},
    )(case.x, case.condition)  # fmt: skip
    assert "vjp_flops" in table
    for part in ("Squeeze", "GlobalAffine", "Coupling", "Conv", "SoftPermutation"):
        assert part in table


def test_the_gradient_of_a_flow_in_nnx_is_that_of_linen(flows, build):
    case = build(flows["dense_coupling"], np.float32)
    model = _in_nnx(case)

    @nnx.grad
    def gradient(model):
        return model(case.x, case.condition, method="log_prob").sum()

    expected = jax.grad(case.log_prob)(case.params, case.x, case.condition)
    for got, want in zip(jax.tree.leaves(gradient(model)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lifted", [nn.remat, nn.jit])
def test_flax_lifts_a_chain_with_the_same_variables(lifted):
    links = [Coupling(DenseConditioner()), GlobalAffine()]
    x = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
    plain, chain = Chain(links), lifted(Chain)(links)
    start = jax.eval_shape(plain.init, jax.random.key(0), x)
    assert shapes(jax.eval_shape(chain.init, jax.random.key(0), x)) == shapes(start)
    variables = jax.jit(plain.init)(jax.random.key(0), x)
    z, expected = (jax.jit(flow.apply)(variables, x) for flow in (chain, plain))
    np.testing.assert_allclose(z, expected, rtol=1e-6)


def test_flax_scans_a_step_with_stacked_variables():
    class Step(nn.Module):
        flow: nn.Module

        def __call__(self, x, _):
            z, log_det = self.flow.forward_and_log_det(x)
            return z, log_det

    x = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
    step = Chain([Coupling(DenseConditioner()), GlobalAffine()])
    axes = {"params": 0}
    scan = nn.scan(Step, variable_axes=axes, split_rngs={"params": True}, length=3)(step)
    variables = jax.jit(scan.init)(jax.random.key(0), x, None)
    z, log_dets = jax.jit(scan.apply)(variables, x, None)
    expected, total = x, 0.0
    run = jax.jit(functools.partial(step.apply, method="forward_and_log_det"))
    leaves, tree = jax.tree.flatten(variables["params"]["flow"])
    for each in zip(*leaves, strict=True):
        one = {"params": tree.unflatten(each)}
        expected, log_det = run(one, expected)
        total += log_det
    np.testing.assert_allclose(z, expected, rtol=1e-5)
    np.testing.assert_allclose(log_dets.sum(0), total, rtol=1e-5)


def test_less_precision_reaches_every_product():
    x = jnp.zeros((1, 2, 4, 4))
    for flow in (FastFlow2D, CFlowDecoder):
        options = {"steps": 1, "permutation": "soft"}
        for precision, count in (("highest", 3), ("default", 0)):
            module = flow(precision=precision, **options)
            variables = jax.eval_shape(module.init, jax.random.key(0), x)
            program = str(jax.make_jaxpr(module.apply)(variables, x))
            assert program.count("Precision.HIGHEST") == 2 * count


PRODUCTS = ("invertible_linear", "householder", "masked_autoregressive_given", "cross_map_coupling")


@pytest.mark.parametrize("name", PRODUCTS)
def test_less_precision_reaches_the_products_of(name, flows, build):
    case = build(flows[name], np.float32)
    for precision in ("highest", "default"):
        flow = case.flow.clone(precision=precision) if hasattr(case.flow, "precision") else None
        if flow is None:
            conditioner = case.flow.conditioner.clone(precision=precision)
            flow = case.flow.clone(conditioner=conditioner)
        for method in ("__call__", "inverse"):
            run = functools.partial(flow.apply, method=method)
            program = str(jax.make_jaxpr(run)(case.variables, case.x, case.condition))
            assert ("HIGHEST" in program) == (precision == "highest")


def _check_round_trip(case, dtype, draw_variables):
    """Check the inverse of a case's flow with parameters of another dtype."""
    flow = case.member.make(dtype)
    variables = draw_variables(flow, case.x, case.condition)
    kept = {leaf.dtype for leaf in jax.tree.leaves(variables["params"])}
    assert kept <= {jnp.dtype(dtype)}

    @jax.jit
    def there_and_back(x):
        z, log_det = flow.apply(variables, x, case.condition, method="forward_and_log_det")
        return flow.apply(variables, z, case.condition, method="inverse"), log_det

    back, log_det = there_and_back(case.x)
    for got, expected in zip(jax.tree.leaves(back), jax.tree.leaves(case.x), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    assert {leaf.dtype for leaf in jax.tree.leaves(log_det)} == {np.dtype(np.float32)}


def test_parameters_of_bfloat16_keep_the_inverse_exact(case, draw_variables):
    if case.flow.bijective:
        _check_round_trip(case, jnp.bfloat16, draw_variables)


def test_parameters_of_float16_keep_the_inverse_exact(chosen, draw_variables):
    _check_round_trip(chosen, jnp.float16, draw_variables)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("channels", [2, 257])
def test_a_rotation_kept_in_16_bits_is_used_as_a_rotation(dtype, channels):
    def init(module):
        return jax.jit(module.init)(jax.random.key(0), x)

    module, x = SoftPermutation(param_dtype=dtype), jnp.eye(channels)
    variables, full = init(module), init(SoftPermutation())
    assert variables["constants"]["rotation"].dtype == dtype
    used = jax.jit(module.apply)(variables, x)
    used = np.asarray(used, np.float64)
    np.testing.assert_allclose(used @ used.T, np.eye(channels), atol=1e-5)
    np.testing.assert_allclose(used.T, full["constants"]["rotation"], atol=0.02)


def test_a_global_affine_of_16_bits_is_inverted_in_float32():
    module, x = GlobalAffine(param_dtype=jnp.bfloat16), jnp.ones((2, 6))
    variables = module.init(jax.random.key(0), x)
    z, log_det = module.apply(variables, x, method="forward_and_log_det")
    np.testing.assert_allclose(jnp.log(z).sum(-1), log_det, rtol=1e-3)
    np.testing.assert_allclose(module.apply(variables, z, method="inverse"), x, 1e-6)
