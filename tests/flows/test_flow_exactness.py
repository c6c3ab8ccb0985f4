import jax
import numpy as np
import pytest

FLOAT = pytest.mark.parametrize(
    ("dtype", "inverse_bound", "log_det_bound"),
    [(np.float32, 1e-4, 1e-4), (np.float64, 1e-10, 1e-9)],
    ids=["float32", "float64"],
)


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def test_perturbed_parameters_are_far_from_the_identity(member, build):
    case = build(member, np.float32)
    z, log_det = case.forward(case.x)
    start, _ = case.run(case.start, case.x, case.condition)
    assert relative(z, start) > 0.1
    assert np.abs(log_det).mean() > 0.05
    if member.affine:
        assert np.std(log_det) > 0.03


@FLOAT
def test_inverse_returns_the_input(member, build, dtype, inverse_bound, log_det_bound):
    case = build(member, dtype)
    with case.precision():
        z, log_det = case.forward(case.x)
        back, back_log_det = case.inverse(z)
        assert relative(back, case.x) < inverse_bound
        assert relative(back_log_det, -log_det) < inverse_bound


@FLOAT
def test_forward_returns_the_latent_of_a_sample(member, build, dtype, inverse_bound, log_det_bound):
    case = build(member, dtype)
    with case.precision():
        x, _ = case.inverse(case.x)
        assert relative(case.forward(x)[0], case.x) < inverse_bound


@FLOAT
def test_log_det_equals_jacobian(member, build, quick, dtype, inverse_bound, log_det_bound):
    case = build(member, dtype)
    with case.precision():
        first = None if case.condition is None else case.condition[:1]

        def flat(v):
            return case.on_params(case.params, v.reshape(1, *member.shape), first)[0].ravel()

        jacobian = jax.jit(jax.jacobian(flat), compiler_options=quick)
        matrix = np.asarray(jacobian(case.x[0].ravel()), np.float64)
        expected = np.linalg.slogdet(matrix)[1]
        got = np.asarray(case.forward(case.x)[1][0], np.float64).sum()
    assert abs(expected) > 0.005
    assert abs(got - expected) < log_det_bound * max(1.0, abs(expected))


def test_log_det_is_one_number_per_position(member, build):
    case = build(member, np.float32)
    z, log_det = case.forward(case.x)
    assert z.shape == case.x.shape
    assert log_det.shape == case.x.shape[:-1]


def test_additive_log_det_is_constant_over_positions_and_inputs(member, build):
    case = build(member, np.float32)
    _, log_det = case.forward(case.x)
    assert (np.ptp(log_det) == 0.0) == (not member.affine)
