import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import (
    ActNorm,
    CFlowDecoder,
    Chain,
    ConvConditioner,
    Coupling,
    CouplingFlow,
    CrossMapConditioner,
    CrossMapCoupling,
    DenseConditioner,
    FastFlow2D,
    Haar,
    Householder,
    Identity,
    Inverse,
    InvertibleLinear,
    Joined,
    LayerNorm,
    MaskedAutoregressive,
    PerMap,
    RationalQuadraticSpline,
    SoftPermutation,
    Split,
    Squeeze,
    from_freia,
    position_encoding,
)

MAP = (1, 4, 4, 6)
CONV = ConvConditioner()


@pytest.mark.parametrize(
    ("flow", "shape", "message"),
    [
        (FastFlow2D(steps=0), MAP, "steps must be at least 1, got 0"),
        (FastFlow2D(kernel_sizes=()), MAP, "kernel_sizes must name at least one size, got none"),
        (FastFlow2D(kernel_sizes=(3, 2)), MAP, "kernel_size must be odd and positive, got 2"),
        (FastFlow2D(), (1, 4, 4, 1), "channels must be at least 2, got 1"),
        (FastFlow2D(), (4, 6), "a 2D flow takes x[..., h, w, c], got shape with 2 axes"),
        (FastFlow2D(clamp=0.0), MAP, "clamp must be positive, got 0.0"),
        (
            FastFlow2D(coupling="affin"),
            MAP,
            "coupling must be one of affine, additive, gin, spline, sigmoid, got 'affin'",
        ),
        (
            FastFlow2D(log_scale="exp"),
            MAP,
            "log_scale must be one of tanh, unit_slope_tanh, arctan, unclamped, got 'exp'",
        ),
        (
            FastFlow2D(permutation="x"),
            MAP,
            "permutation must be one of hard, soft, linear, got 'x'",
        ),
        (CFlowDecoder(steps=-1), (2, 6), "steps must be at least 1, got -1"),
        (CFlowDecoder(), (2, 1), "channels must be at least 2, got 1"),
        (Chain([]), MAP, "a chain needs at least one flow, got none"),
        (Coupling(CONV, clamp=-1.0), MAP, "clamp must be positive, got -1.0"),
        (Coupling(CONV, clamp=float("nan")), MAP, "clamp must be finite, got nan"),
        (FastFlow2D(clamp="2"), MAP, "clamp must be a positive number, got '2'"),
        (FastFlow2D(steps=2.5), MAP, "steps must be an integer, got 2.5"),
        (CFlowDecoder(steps=True), (2, 6), "steps must be an integer, got True"),
        (FastFlow2D(kernel_sizes=3), MAP, "kernel_sizes must be a sequence of odd integers, got 3"),
        (FastFlow2D(kernel_sizes=(3, 1.0)), MAP, "kernel_size must be an integer, got 1.0"),
        (FastFlow2D(hidden_ratio=0), MAP, "hidden_ratio must be positive, got 0"),
        (FastFlow2D(hidden_ratio=float("inf")), MAP, "hidden_ratio must be finite, got inf"),
        (
            CFlowDecoder(hidden_ratio=1e308),
            (2, 6),
            "hidden_ratio must give at most 2147483647 hidden channels, got 1e+308",
        ),
        (CFlowDecoder(hidden_ratio=-1.0), (2, 6), "hidden_ratio must be positive, got -1.0"),
        (
            CFlowDecoder(param_dtype=jnp.int32),
            (2, 6),
            "param_dtype must be a floating dtype of at least 16 bits, got int32",
        ),
        (
            FastFlow2D(dtype="flo"),
            MAP,
            "dtype must be a floating dtype of at least 16 bits, got 'flo'",
        ),
        (FastFlow2D(output_init=0), MAP, "output_init must be an initializer, got 0"),
        (Coupling(3), MAP, "conditioner must be a Flax module, got 3"),
        (Chain([abs]), MAP, "links[0] must be a flow, got builtin_function_or_method"),
        (Chain([Identity(), CONV]), MAP, "links[1] must be a flow, got ConvConditioner"),
        (Chain(Identity()), MAP, "links must be a sequence of flows, got Identity("),
        (Inverse(abs), MAP, "flow must be a flow, got builtin_function_or_method"),
        (CouplingFlow(), MAP, "CouplingFlow must define conditioner"),
        (
            FastFlow2D(precision="exact"),
            MAP,
            "precision must be a precision of JAX, such as 'highest', 'high' or 'default', "
            "got 'exact'",
        ),
        (
            SoftPermutation(precision=3),
            (2, 6),
            "precision must be a precision of JAX, such as 'highest', 'high' or 'default', got 3",
        ),
        (Squeeze(), (1, 4, 5, 6), "height and width must be even, got 4 x 5"),
        (Haar(), (1, 3, 4, 6), "height and width must be even, got 3 x 4"),
        (Squeeze(), (4, 6), "x must be f[..., h, w, c], got shape (4, 6)"),
        (Inverse(Squeeze()), MAP, "channels must be a multiple of 4, got 6"),
        (Split(), (2, 5), "channels must be a multiple of 2, got 5"),
        (Split(0), (2, 5), "parts must be at least 1, got 0"),
        (Inverse(Split()), MAP, "z must be a tuple of 2 arrays, got "),
        (LayerNorm(), (2, 6), "x must be f[..., h, w, c], got shape (2, 6)"),
        (PerMap(Identity()), MAP, "maps must be an integer, got None"),
        (Joined(abs), MAP, "flow must be a flow, got builtin_function_or_method"),
        (
            Coupling(DenseConditioner(hidden_layers=0)),
            (2, 6),
            "hidden_layers must be at least 1, got 0",
        ),
        (PerMap(abs, 2), MAP, "flows must be a flow or a sequence of flows, got <built-in"),
        (PerMap([]), MAP, "flows must hold at least one flow, got none"),
        (PerMap([Identity(), abs]), MAP, "flows[1] must be a flow, got builtin_function_or_meth"),
        (PerMap([Identity()], 2), MAP, "maps must be 1, as flows are, got 2"),
        (PerMap(Identity(), 2), MAP, "x must be a tuple of maps, got "),
        (
            ActNorm(jnp.int32),
            MAP,
            "param_dtype must be a floating dtype of at least 16 bits, got int32",
        ),
        (
            InvertibleLinear("random"),
            MAP,
            "start must be one of rotation, permutation, identity, got 'random'",
        ),
        (InvertibleLinear(precision=3), MAP, "precision must be a precision of JAX, such as"),
        (Householder(0), MAP, "reflections must be at least 1, got 0"),
        (Householder(2.0), MAP, "reflections must be an integer, got 2.0"),
        (
            Coupling(CONV, coupling=RationalQuadraticSpline),
            MAP,
            "coupling must be one of affine, additive, gin, spline, sigmoid, got <class",
        ),
        (FastFlow2D(coupling="spline"), (1, 4, 4, 1), "channels must be at least 2, got 1"),
        (MaskedAutoregressive(), (2, 1), "channels must be at least 2, got 1"),
        (MaskedAutoregressive(clamp=0), (2, 6), "clamp must be positive, got 0"),
        (
            MaskedAutoregressive(log_scale="exp"),
            (2, 6),
            "log_scale must be one of tanh, unit_slope_tanh, arctan, unclamped, got 'exp'",
        ),
        (MaskedAutoregressive(hidden_ratio=0), (2, 6), "hidden_ratio must be positive, got 0"),
        (CrossMapCoupling(CrossMapConditioner()), MAP, "x must be a tuple of maps, got "),
    ],
)
def test_a_bad_argument_is_named_with_what_was_got(flow, shape, message):
    with pytest.raises((ValueError, NotImplementedError), match=f"^{re.escape(message)}"):
        jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    ("shapes", "condition", "message"),
    [
        ([(2, 6)], None, "x must hold 2 maps, got 1"),
        ([(2, 6), (2, 6)], [(2, 3)], "condition must hold 2 maps, got 1"),
        ([(2, 6), (2, 6)], (2, 3), "condition must be a tuple of maps, got"),
        ([(2, 6), (2, 6)], [(2, 3), (5, 3)], "condition must have leading axes that broadcast to"),
    ],
)
def test_maps_that_are_not_as_many_as_flows_are_named(shapes, condition, message):
    flow = PerMap(CFlowDecoder(steps=1), maps=2)
    x = tuple(map(np.zeros, shapes))
    if condition is not None:
        many = isinstance(condition, list)
        condition = tuple(map(np.zeros, condition)) if many else np.zeros(condition)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(flow.init, jax.random.key(0), x, condition)


@pytest.mark.parametrize(
    ("options", "shapes", "condition", "message"),
    [
        ({}, [(2, 4, 4, 1)] * 2, None, "channels must be at least 2, got 1"),
        ({}, [(4, 6), (4, 6)], None, "x[0] must be f[..., h, w, c], got shape (4, 6)"),
        (
            {},
            [(2, 4, 4, 6), (1, 4, 4, 6)],
            None,
            "x must have maps with the same leading axes, got [(2, 4, 4, 6), (1, 4, 4, 6)]",
        ),
        ({}, [(2, 4, 4, 6)] * 2, [(2, 4, 4, 3)], "condition must hold 2 maps, got 1"),
        (
            {},
            [(2, 4, 4, 6)] * 2,
            [(2, 4, 4, 3), (2, 4, 5, 3)],
            "condition must have leading axes that broadcast to (2, 4, 4), got shape (2, 4, 5, 3)",
        ),
        ({"kernel_size": 2}, [(2, 4, 4, 6)], None, "kernel_size must be odd and positive, got 2"),
    ],
)
def test_maps_that_a_cross_map_coupling_does_not_take_are_named(
    options, shapes, condition, message
):
    flow = CrossMapCoupling(CrossMapConditioner(**options))
    x = tuple(map(jnp.zeros, shapes))
    condition = None if condition is None else tuple(map(jnp.zeros, condition))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(flow.init, jax.random.key(0), x, condition)


def test_parts_that_do_not_fit_together_are_named():
    join = Inverse(Split())
    with pytest.raises(ValueError, match=r"^z must be a tuple of 2 arrays, got 3"):
        join.apply({}, (jnp.zeros((2, 3)),) * 3)
    with pytest.raises(ValueError, match=r"^z must have parts of one shape, got \[\(2, 3\), \("):
        join.apply({}, (jnp.zeros((2, 3)), jnp.zeros((2, 4))))


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (lambda x: x.astype(np.int32), "must have a floating dtype, got int32"),
        (lambda x: x > 0, "must have a floating dtype, got bool"),
        (lambda x: x * 1j, "must have a floating dtype, got complex64"),
        (lambda x: {"x": x}, "must be an array, got dict"),
        (lambda x: x.ravel()[0], "must have channels as its last axis, got shape ()"),
    ],
)
def test_an_input_that_no_flow_takes_is_named(shallow, build, given, got):
    case = build(shallow, np.float32)
    values = {"forward_and_log_det": case.x, "inverse_and_log_det": case.outputs[0]}
    for method in list(values)[: 2 if case.flow.bijective else 1]:
        bad = jax.tree.map(lambda a: given(np.ones(a.shape, np.float32)), values[method])
        with pytest.raises(ValueError, match=rf"^[xz](\[0\])? {re.escape(got)}"):
            case.on_params(case.params, bad, case.condition, method=method)


def test_a_condition_that_no_flow_takes_is_named(shallow, build):
    case = build(shallow, np.float32)
    if shallow.condition is None or isinstance(case.x, tuple):
        return
    leading = case.x.shape[:-1]
    code = jnp.ones((*leading, 2))
    wrong = {
        f"to {leading}, got shape {(*leading[:-1], 9, 2)}": jnp.ones((*leading[:-1], 9, 2)),
        f"to {leading}, got shape {(1, *code.shape)}": code[None],
        "condition must have a floating dtype, got int32": code.astype(jnp.int32),
        "condition must be an array, got float": 0.5,
    }
    for message, condition in wrong.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            jax.eval_shape(lambda c=condition: case.flow.init(jax.random.key(0), case.x, c))


def test_a_linear_map_of_other_channels_or_without_constants_is_named(draw_variables):
    flow = InvertibleLinear()
    variables = draw_variables(flow, jnp.zeros((2, 6)), None)
    with pytest.raises(ValueError, match="^channels must be 6, as in the variables, got 8"):
        flow.apply(variables, jnp.zeros((2, 8)), method="inverse_and_log_det")
    with pytest.raises(ValueError, match="^variables must hold the collection constants"):
        flow.apply({"params": variables["params"]}, jnp.zeros((2, 6)))


@pytest.mark.parametrize("permutation", ["hard", "soft"])
def test_variables_of_other_channels_or_without_constants_are_named(permutation, draw_variables):
    flow = CFlowDecoder(steps=1, permutation=permutation)
    variables = draw_variables(flow, jnp.zeros((2, 6)), None)
    with pytest.raises(ValueError, match="^channels must be 6, as in the variables, got 8"):
        flow.apply(variables, jnp.zeros((2, 8)), method="inverse_and_log_det")
    with pytest.raises(ValueError, match="^variables must hold the collection constants"):
        flow.apply({"params": variables["params"]}, jnp.zeros((2, 6)))


def test_a_condition_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"broadcast to \(3,\), got shape \(2, 4\)"):
        CFlowDecoder().init(jax.random.key(0), jnp.zeros((3, 6)), jnp.zeros((2, 4)))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dim": 6}, "dim must be a positive multiple of 4, got 6"),
        ({"dim": 0}, "dim must be a positive multiple of 4, got 0"),
        ({"dim": 8.0}, "dim must be an integer, got 8.0"),
        ({"height": 2.5}, "height must be an integer, got 2.5"),
        ({"height": 0}, "height and width must be at least 1, got 0 and 3"),
    ],
)
def test_a_bad_position_code_is_named(kwargs, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        position_encoding(**{"height": 2, "width": 3, **kwargs})


def test_a_torch_state_that_is_no_flow_is_named():
    with pytest.raises(ValueError, match="^no array is named module_list"):
        from_freia({"weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"^step 0 lacks global_offset, .*, w_perm$"):
        from_freia({"module_list.0.global_scale": np.zeros(3)})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("w_perm", lambda a: a[:-1], "w_perm of step 0 must have [6, 6], got shape (5, 6)"),
        ("w_perm", lambda a: 2 * a, "w_perm of step 0 must be orthogonal, and is not"),
        ("global_offset", lambda a: a[:-1], "global_offset of step 0 must have 6 numbers"),
        ("subnet.0.bias", lambda a: a[:-1], "subnet.0.bias of step 0 must have 4 numbers"),
        ("subnet.0.weight", lambda a: a[0], "subnet.0.weight of step 0 must have [out, in] or"),
        ("subnet.2.weight", lambda a: a[:, :1], "subnet.2.weight of step 0 must have 2 axes, 6"),
    ],
)
def test_a_torch_array_of_another_shape_is_named(name, change, message):
    shapes = {"global_scale": 6, "global_offset": 6, "subnet.0.weight": (4, 3)}
    shapes |= {"subnet.0.bias": 4, "subnet.2.weight": (6, 4), "subnet.2.bias": 6}
    state = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    state["w_perm"] = np.eye(6, dtype=np.float32)
    whole = {f"module_list.0.{key}": value for key, value in state.items()}
    flow = CFlowDecoder(steps=1, hidden_ratio=4 / 3, permutation="hard")
    assert jax.eval_shape(flow.apply, from_freia(whole), jnp.zeros((1, 6))).shape == (1, 6)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        from_freia({**whole, f"module_list.0.{name}": change(state[name])})
    with pytest.raises(ValueError, match="^step 0 has subnet.4.weight, but"):
        from_freia({**whole, "module_list.0.subnet.4.weight": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="^step 1 of 3 has no array"):
        from_freia({**whole, "module_list.2.w_perm": state["w_perm"]})


def test_params_hold_only_what_is_trained(member, build):
    case = build(member, np.float32)
    names = {
        collection: {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
        for collection, tree in case.variables.items()
    }
    assert set(names) == {"params", "constants"}
    known = {"kernel", "bias", "theta", "offset", "scale", "log_scale", "lu", "vectors", "code"}
    assert names["params"] <= known
    assert names["constants"] <= {"index", "rotation", "mean", "std", "whitening", "images", "own"}


def test_permutations_differ_between_steps_and_seeds():
    x = jnp.zeros((1, 2, 2, 64))
    init = jax.jit(FastFlow2D(steps=2).init)
    draws = [init(jax.random.key(i), x)["constants"] for i in (0, 0, 1)]
    first, again, other = (jax.tree.leaves(draw) for draw in draws)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    for index in (*first, *other):
        np.testing.assert_array_equal(np.sort(index), np.arange(64))


@pytest.mark.parametrize("channels", [2, 3, 16, 257])
def test_soft_permutation_is_a_rotation(channels):
    x = jnp.zeros((1, channels))
    module = SoftPermutation()
    variables = jax.jit(module.init)(jax.random.key(0), x)
    matrix = np.asarray(variables["constants"]["rotation"], np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(channels), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1.0, abs=1e-4)


def count(flow, channels, condition=None):
    code = None if condition is None else jnp.zeros((1, condition))
    total = 0
    for c in channels:
        shape = (1, 4, 4, c) if isinstance(flow, FastFlow2D) else (1, c)
        variables = jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros(shape), code)
        total += sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return total


def test_fastflow_on_resnet18_has_exactly_4657408_parameters():
    assert count(FastFlow2D(kernel_sizes=(3,)), (64, 128, 256)) == 4_657_408


@pytest.mark.parametrize(
    ("flow", "channels", "condition", "millions"),
    [
        (FastFlow2D(), (64, 128, 256), None, 2.59),
        (FastFlow2D(), (256, 512, 1024), None, 41.34),
        (FastFlow2D(kernel_sizes=(3, 3)), (256, 512, 1024), None, 74.37),
        (FastFlow2D(steps=20, hidden_ratio=1 / 3), (768,), None, 14.79),
        (FastFlow2D(steps=20, hidden_ratio=1 / 3, kernel_sizes=(3,)), (768,), None, 26.59),
        (CFlowDecoder(), (512, 1024, 2048), 128, 81.65),
        (CFlowDecoder(), (128, 256, 512), 128, 8.62),
    ],
)
def test_parameter_count_is_the_published_one(flow, channels, condition, millions):
    assert round(count(flow, channels, condition) / 1e6, 2) == millions
