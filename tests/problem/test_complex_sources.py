"""Complex sources: the same as real pairs under the hood, complex wherever a user or an operator sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.closed import GaussianConfig, gaussian_em
from dichroic.operators import (
    AsComplex,
    Dense,
    FourierSample,
    LinearFunction,
    Mask,
    PerSample,
    Scale,
    take,
)
from dichroic.problem import Problem, ProblemError, Source, View, as_complex, as_pairs, load_problem, save_problem

N, D = 40, 6
RNG = np.random.default_rng(5)


def draw(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


TRUTH = draw(N, D)
A = draw(4, D)
Y = TRUTH @ A.T + 0.1 * draw(N, 4)


def problem(operator, y=Y, dtype=complex, truth=None, shape=(D,)):
    return Problem({"pulse": Source(shape, dtype=dtype)}, {"v": View(y, {"pulse": operator}, 0.1, truth=truth or {})})


def faults(*args, **options):
    with pytest.raises(ProblemError) as caught:
        problem(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [complex, "complex", np.complex64, np.dtype(complex)])
def test_ways_to_say_complex(dtype):
    source = Source((D,), dtype=dtype)
    assert source.is_complex and source.shape == (D,) and source.real_shape == (D, 2)
    assert source == Source((D,), dtype=complex)


@pytest.mark.parametrize("dtype", ["imaginary", int, None])
def test_other_types_are_refused(dtype):
    with pytest.raises(ProblemError, match="dtype: expected 'real' or 'complex'"):
        Source((D,), dtype=dtype)


OPERATORS = {
    "amplitude": (0.5, D),
    "complex amplitude": (Scale(0.3 - 2j, (D,)), D),
    "amplitudes": (PerSample(draw(N)), D),
    "mask": (Mask(RNG.normal(size=D)), D),
    "fourier": (FourierSample(np.ones(D), (D,)), D),
    "matrix": (Dense(A), 4),
    "composed": (Dense(A) @ PerSample(Mask(RNG.normal(size=(N, D)))), 4),
    "function": (LinearFunction(lambda x, p: p * jnp.conj(x), (D,), np.arange(1.0, D + 1)), D),
}


@pytest.mark.parametrize(("operator", "m"), OPERATORS.values(), ids=OPERATORS)
def test_operators_get_complex_samples(operator, m):
    found = problem(operator, draw(N, m)).views["v"].mixing["pulse"]
    x = draw(D)
    plain = operator
    if not hasattr(operator, "in_shape"):
        plain = Scale(operator.value[2] if isinstance(operator, PerSample) else operator, (D,))
    expected = take(plain, 2)(jnp.asarray(x))
    np.testing.assert_allclose(take(found, 2)(jnp.asarray(as_pairs(x))), expected, rtol=2e-5, atol=1e-5)


def test_the_same_as_pairs_read_as_complex():
    """The data are the same, so is the problem: fingerprints, Gaussian stage."""
    new = problem(Dense(A), truth={"pulse": TRUTH})
    old = problem(Dense(A) @ AsComplex((D, 2)), dtype=float, shape=(D, 2), truth={"pulse": as_pairs(TRUTH)})
    assert new.fingerprint() == old.fingerprint()
    np.testing.assert_array_equal(new.views["v"].truth["pulse"], old.views["v"].truth["pulse"])
    found, expected = (gaussian_em(p).populations["pulse"] for p in (new, old))
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.covariance(), expected.covariance())


def test_the_same_written_with_real_parts():
    """Real and imaginary parts side by side, through the real form of the matrix: the same populations."""
    tall = draw(8, D)  # as many data as unknowns: the end is near, and the ways there differ
    y = TRUTH @ tall.T + 0.1 * draw(N, 8)
    rows = np.block([[tall.real, -tall.imag], [tall.imag, tall.real]])
    pairs = np.concatenate([y.real, y.imag], 1)
    real = Problem({"pulse": Source((2 * D,))}, {"v": View(pairs, {"pulse": Dense(rows)}, 0.1)})
    laps = GaussianConfig(laps=100, tolerance=1e-14)
    found = gaussian_em(problem(Dense(tall), y), laps).populations["pulse"]
    expected = gaussian_em(real, laps).populations["pulse"]
    order = np.arange(2 * D).reshape(2, D).T.ravel()  # of the parts in pairs
    np.testing.assert_allclose(found.mean.ravel(), expected.mean[order], rtol=1e-5, atol=1e-6)
    covariance = expected.covariance()[np.ix_(order, order)]
    np.testing.assert_allclose(found.covariance(), covariance, rtol=1e-4, atol=1e-5 * np.abs(covariance).max())


def test_binding_selecting_and_splitting_keep_it(tmp_path):
    whole = problem(PerSample(Mask(RNG.normal(size=(N, D)))), draw(N, D), truth={"pulse": TRUTH})
    again = Problem(whole.sources, whole.views)
    assert again.fingerprint() == whole.fingerprint()
    kept, held = whole.split(0.25)
    assert len(kept.views["v"]) == 30 and held.sources["pulse"].is_complex
    np.testing.assert_array_equal(as_complex(again.views["v"].truth["pulse"]), TRUTH)


@pytest.mark.parametrize(("operator", "m"), [v for k, v in OPERATORS.items() if k != "function"])
def test_written_and_read(operator, m, tmp_path):
    before = problem(operator, draw(N, m), truth={"pulse": TRUTH})
    path = save_problem(before, tmp_path)
    assert 'dtype = "complex"' in path.read_text() and "as_complex" not in path.read_text()
    after = load_problem(path).problem
    assert after.fingerprint() == before.fingerprint()
    assert after.sources == before.sources
    np.testing.assert_array_equal(after.views["v"].truth["pulse"], before.views["v"].truth["pulse"])


def test_in_a_file(tmp_path):
    np.savez(tmp_path / "d.npz", y=draw(N, D), a=A, y4=Y)
    text = 'sources.pulse = {{ shape = [6], dtype = "complex" }}\n[views.v]\ny = "d.npz:{}"\nnoise = 0.1\n'
    text += "mixing.pulse = {}"
    for y, mixing in (("y", "1.0"), ("y4", '{ dense = "d.npz:a" }'), ("y4", '[0.5, { dense = "d.npz:a" }]')):
        (tmp_path / "p.toml").write_text(text.format(y, mixing))
        assert load_problem(tmp_path / "p.toml").problem.sources["pulse"].is_complex
    (tmp_path / "p.toml").write_text(text.format("y", "1.0").replace("complex", "complicated"))
    with pytest.raises(ProblemError, match=r"source 'pulse': .*expected 'real' or 'complex', got 'complicated'"):
        load_problem(tmp_path / "p.toml")
    old = text.replace("[6]", "[6, 2]").replace(', dtype = "complex"', "").format("y", "['as_complex']")
    (tmp_path / "p.toml").write_text(old)
    assert load_problem(tmp_path / "p.toml").problem.sources["pulse"].shape == (6, 2)


def test_real_values_under_complex_data_and_the_other_way():
    real = faults(1.0, draw(N, D), float)
    assert real == (
        "view 'v', source 'pulse': the operator (Scale) returns real values, but y is complex; "
        "if the source is complex, say dtype = complex"
    )
    assert faults(1.0, RNG.normal(size=(N, D))) == (
        "view 'v', source 'pulse': the operator (Scale) returns complex values, but y is real"
    )
    assert "(FourierSample) returns complex values, but y is real" in faults(
        FourierSample(np.ones(D), (D,)), RNG.normal(size=(N, D)), float
    )
    # allowed: Fourier samples and complex amplitudes of a real source, the real part of a complex one
    problem(FourierSample(np.ones(D), (D,)), draw(N, D), float)
    problem(Scale(1j, (D,)), draw(N, D), float)
    problem(LinearFunction(lambda x, p: x.real, (D,)), RNG.normal(size=(N, D)))
    assert "truth of source 'pulse': expected real values" in faults(
        Scale(1j, (D,)), draw(N, D), float, truth={"pulse": TRUTH}
    )
    assert "expected shape (40, 6), got (40, 5)" in faults(1.0, draw(N, D), truth={"pulse": TRUTH[:, :5]})


def test_the_adjoint_is_that_of_the_real_inner_product(float64):
    operator = problem(Dense(A)).views["v"].mixing["pulse"]
    x, u = RNG.normal(size=(D, 2)), draw(4)
    left = np.vdot(u, operator(jnp.asarray(x))).real
    np.testing.assert_allclose(left, np.sum(np.asarray(operator.T(jnp.asarray(u))) * x), rtol=1e-12)
    assert jax.eval_shape(operator, jax.ShapeDtypeStruct((D, 2), float)).dtype == complex
