import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

FLOAT = pytest.mark.parametrize(
    ("dtype", "bound"), [(np.float32, 1e-4), (np.float64, 1e-10)], ids=["float32", "float64"]
)


def flat(tree):
    """Return all numbers of a tree as one vector."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def relative(got, expected):
    return np.abs(flat(got) - flat(expected)).max() / np.abs(flat(expected)).max()


def shapes(tree):
    return jax.tree.map(np.shape, tree)


def keeps_the_grid(case, x, log_det):
    """Tell whether a log_det stays where it is, at the same positions."""
    if shapes(log_det) != jax.tree.map(lambda a: a.shape[:-1], x):
        return False
    numbers = jax.tree.map(lambda a: np.arange(float(a.size)).reshape(a.shape), log_det)
    carried = case.flow.bind(case.variables).carry_forward(numbers)
    return (flat(carried) == flat(numbers)).all()


@FLOAT
def test_inverse_returns_the_input(bijection, build, dtype, bound):
    case = build(bijection, dtype)
    with case.precision():
        z, log_det = case.forward(case.x)
        back, back_log_det = case.inverse(z)
        assert shapes(back) == shapes(case.x)
        assert relative(back, case.x) < bound
        total = flat(log_det).sum()
        assert abs(flat(back_log_det).sum() + total) <= bound * max(1.0, abs(total))
        if keeps_the_grid(case, case.x, log_det):
            assert np.abs(flat(back_log_det) + flat(log_det)).max() < 10 * bound


@FLOAT
def test_forward_returns_the_latent_of_a_sample(bijection, build, draw, dtype, bound):
    case = build(bijection, dtype)
    with case.precision():
        drawn = iter(draw(tuple(a.shape[1:] for a in jax.tree.leaves(case.forward(case.x)[0]))))
        z = jax.tree.map(lambda a: next(drawn).astype(a.dtype), case.forward(case.x)[0])
        x, _ = case.inverse(z)
        assert relative(case.forward(x)[0], z) < bound


def test_log_det_equals_jacobian(bijection, build):
    if bijection.deep:
        pytest.skip("the same code as fewer steps")
    case = build(bijection, np.float64)
    with case.precision():
        x, condition = case.first
        vector, unravel = ravel_pytree(x)

        @jax.jit
        @jax.jacobian
        def jacobian(vector):
            z = case.on_params(case.params, unravel(vector), condition)[0]
            return ravel_pytree(z)[0]

        expected = np.linalg.slogdet(np.asarray(jacobian(vector)))[1]
        log_det = case.forward(case.x)[1]
    got = flat(jax.tree.map(lambda a: a[0], log_det)).sum()
    assert abs(got - expected) < 1e-9 * max(1.0, abs(expected))
    assert (abs(expected) > 0.005) == (bijection.log_det != "zero")


def test_float32_gives_the_numbers_of_float64(member, build):
    case, wide = build(member, np.float32), build(member, np.float64)
    with wide.precision():
        expected = jax.tree.map(np.asarray, wide.forward(wide.x))
    for got, want in zip(case.forward(case.x), expected, strict=True):
        assert np.abs(flat(got) - flat(want)).max() < 1e-4 * max(1.0, np.abs(flat(want)).max())


def test_log_det_is_one_number_per_position(member, build):
    case = build(member, np.float32)
    z, log_det = case.forward(case.x)
    assert shapes(log_det) == jax.tree.map(lambda a: a.shape[:-1], z)


def test_log_det_varies_with_the_input_where_it_should(member, build):
    case = build(member, np.float32)
    log_det = jax.tree.map(np.asarray, case.forward(case.x)[1])
    spread = max(np.ptp(each) for each in jax.tree.leaves(log_det))
    assert spread > 0.003 if member.log_det == "varying" else spread == 0.0


def test_a_log_det_is_carried_over_with_its_sum(member, build):
    case = build(member, np.float32)
    z, log_det = case.forward(case.x)
    flow = case.flow.bind(case.variables)
    noise = np.random.default_rng(3)
    for carry, source, target in (
        (flow.carry_forward, case.x, log_det),
        (flow.carry_inverse, z, jax.tree.map(lambda a: a[..., 0], case.x)),
    ):
        # Whole numbers, so that a sum has no rounding.
        before = jax.tree.map(lambda a: 12.0 * noise.integers(-9, 9, a.shape[:-1]), source)
        after = carry(before)
        assert shapes(after) == shapes(target)
        assert flat(after).sum() == flat(before).sum()


def test_what_is_no_bijection_says_so(flows, build):
    cases = {name: build(member, np.float32) for name, member in flows.items()}
    others = {name: case for name, case in cases.items() if not case.flow.bijective}
    assert set(others) == {"layer_norm", "layer_norm_affine", "average_pool"}
    for case in others.values():
        with pytest.raises(
            ValueError, match=f"^{type(case.flow).__name__} has no inverse: .* lost"
        ):
            case.inverse(case.x)


def test_a_pointwise_flow_takes_every_vector_by_itself(member, build):
    case = build(member, np.float32)
    if not case.flow.pointwise:
        return
    rows = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), (case.x, case.condition))
    for got, expected in zip(
        case.run(case.params, *rows), case.run(case.params, case.x, case.condition), strict=True
    ):
        np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-4, atol=1e-5)


def test_the_flows_of_vectors_are_pointwise_and_those_of_maps_are_not(flows):
    pointwise = {name for name, member in flows.items() if member.make(np.float32).pointwise}
    assert pointwise >= {"cflow", "uflow_additive", "per_map", "dense_coupling", "standardize"}
    assert not pointwise & {"fastflow_3_1", "step_of_parts", "squeeze", "layer_norm", "multi_scale"}
