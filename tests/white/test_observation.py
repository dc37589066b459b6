"""One observation as the posterior sees it, against the linear model written out."""

import jax
import numpy as np
import pytest

from dichroic.operators import Dense, DiagonalNoise
from dichroic.problem import Observation
from dichroic.white import WhitenedObservation
from posterior_cases import CASES

pytestmark = pytest.mark.usefixtures("float64")

every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


@every_case
def test_whitened_model_has_the_same_likelihood(make, rng):
    # whitening is free up to a rotation: compare quadratic forms
    case = make()
    A, y, N = case.linear_model()
    z = rng.normal(size=A.shape[1])

    @jax.jit  # built and evaluated in one program
    def seen(z):
        whitened = case.whitened()
        return whitened.matrices(), whitened.y, whitened.count, whitened.chi_square(z)

    matrices, white, count, chi_square = seen(case.split(z))
    B = np.concatenate([np.asarray(matrices[s]) for s in case.names], axis=1)
    np.testing.assert_allclose(B.T @ B, A.T @ np.linalg.solve(N, A), atol=1e-9 * np.abs(B).max() ** 2)
    np.testing.assert_allclose(B.T @ white, A.T @ np.linalg.solve(N, y), atol=1e-9 * np.abs(B).max() ** 2)
    np.testing.assert_allclose(white @ white, y @ np.linalg.solve(N, y), rtol=1e-10)
    assert float(count) == len(y)
    expected = (y - A @ z) @ np.linalg.solve(N, y - A @ z) / len(y)
    np.testing.assert_allclose(chi_square, expected, rtol=1e-10)


@every_case
def test_forward_and_adjoint_are_the_matrices(make, rng):
    case = make()
    z, shape = case.split(rng.normal(size=len(case.prior()[0]))), jax.eval_shape(lambda: case.whitened().y).shape
    v = rng.normal(size=shape)

    @jax.jit
    def seen(z, v):
        whitened = case.whitened()
        return whitened.matrices(), whitened.matrix(), whitened.forward(z), whitened.adjoint(v)

    matrices, matrix, mixture, adjoint = jax.tree.map(np.asarray, seen(z, v))
    expected = sum(matrices[s] @ z[s].ravel() for s in case.names)
    np.testing.assert_allclose(mixture, expected, atol=1e-10)
    np.testing.assert_array_equal(matrix, np.concatenate([matrices[s] for s in case.names], axis=1))
    for s, u in adjoint.items():
        np.testing.assert_allclose(u.reshape(-1), matrices[s].T @ v, atol=1e-10)


def test_unscaled_shows_the_sources_asked_for_in_the_users_units(rng):
    A = {s: rng.normal(size=(4, d)) for s, d in {"a": 2, "b": 3, "c": 1}.items()}
    y = rng.normal(size=4)
    observation = Observation(y, np.ones(4, bool), {s: Dense(m) for s, m in A.items()}, DiagonalNoise(0.5))
    whitened = WhitenedObservation.unscaled(observation, {"c": (1,), "elsewhere": (7,), "a": (2,)})
    np.testing.assert_allclose(whitened.matrix(), np.concatenate([A["c"], A["a"]], axis=1) / 0.5)
    np.testing.assert_allclose(whitened.y, y / 0.5)


@pytest.mark.parametrize("name", ["missing data", "missing complex data", "dense noise, missing data"])
def test_values_of_missing_entries_do_not_matter(name, rng):
    case = CASES[name]()
    before = case.whitened()
    case.y = np.where(case.observed, case.y, 1e6)
    np.testing.assert_array_equal(before.y, case.whitened().y)
