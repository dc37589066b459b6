"""Noise covariances against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import DenseNoise, DiagonalNoise

pytestmark = pytest.mark.usefixtures("float64")

SHAPE = (2, 3)


def covariance(rng) -> np.ndarray:
    B = rng.normal(size=(6, 6))
    return B @ B.T + 0.1 * np.eye(6)


@pytest.fixture(params=["number", "array", "dense"])
def case(request, rng):
    """A noise with its covariance as a matrix over the flat observation."""
    if request.param == "number":
        return DiagonalNoise(0.3), 0.09 * np.eye(6)
    if request.param == "array":
        std = rng.uniform(0.1, 2, size=SHAPE)
        return DiagonalNoise(std), np.diag(std.ravel() ** 2)
    S = covariance(rng)
    return DenseNoise.from_covariance(S), S


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_whitening(case, kind, rng):
    noise, S = case
    r = rng.normal(size=SHAPE) + (1j * rng.normal(size=SHAPE) if kind == "complex" else 0)
    flat, white = r.ravel(), np.asarray(noise.whiten(jnp.asarray(r)))
    assert white.shape == SHAPE
    # W* W is the inverse covariance
    np.testing.assert_allclose(np.vdot(white, white).real, np.vdot(flat, np.linalg.solve(S, flat)).real, rtol=1e-10)
    np.testing.assert_allclose(noise.unwhiten(jnp.asarray(white)), r, atol=1e-10)
    np.testing.assert_allclose(noise.solve(jnp.asarray(r)).ravel(), np.linalg.solve(S, flat), rtol=1e-9)
    back = np.stack([np.asarray(noise.unwhiten(jnp.asarray(e).reshape(SHAPE))).ravel() for e in np.eye(6)], 1)
    np.testing.assert_allclose(back @ back.T, S, atol=1e-12)


def test_log_determinant(case):
    noise, S = case
    np.testing.assert_allclose(noise.log_det(jnp.ones(SHAPE, bool)), np.linalg.slogdet(S)[1], rtol=1e-12)


def test_log_determinant_of_what_is_observed(rng):
    observed = np.array([[True, False, True], [True, True, False]])
    flat = observed.ravel()
    std = rng.uniform(0.1, 2, size=SHAPE)
    expected = 2 * np.log(std[observed]).sum()
    np.testing.assert_allclose(DiagonalNoise(std).log_det(jnp.asarray(observed)), expected, rtol=1e-12)
    np.testing.assert_allclose(DiagonalNoise(0.2).log_det(jnp.asarray(observed)), 8 * np.log(0.2), rtol=1e-12)
    S = covariance(rng)
    noise = DenseNoise.from_covariance(S, flat)
    expected = np.linalg.slogdet(S[np.ix_(flat, flat)])[1]
    np.testing.assert_allclose(noise.log_det(jnp.asarray(observed)), expected, rtol=1e-12)


def test_missing_entries_are_marginalised_out(rng):
    S = covariance(rng)
    observed = rng.random((4, 6)) < 0.6
    observed[0] = [False, True, True, False, True, True]  # the first entry missing: the order of the factor matters
    noise = DenseNoise.from_covariance(np.broadcast_to(S, (4, 6, 6)), observed)
    for i, seen in enumerate(observed):
        one = DenseNoise(noise.factor[i], noise.whitener[i])
        r = np.where(seen, rng.normal(size=6), 0)
        white = np.asarray(one.whiten(jnp.asarray(r)))
        np.testing.assert_allclose(white[~seen], 0, atol=1e-12)
        expected = r[seen] @ np.linalg.solve(S[np.ix_(seen, seen)], r[seen])
        np.testing.assert_allclose(white @ white, expected, rtol=1e-10)


def test_draws_have_the_covariance(rng):
    S, n = covariance(rng), 20_000
    noise = DenseNoise.from_covariance(S)
    draws = np.asarray(jax.vmap(noise.unwhiten)(jnp.asarray(rng.normal(size=(n, 6)))))
    error = np.sqrt((np.outer(np.diag(S), np.diag(S)) + S**2) / n)
    assert np.all(np.abs(np.cov(draws.T) - S) < 4.5 * error)


def test_precision_follows_the_data():
    noise = DenseNoise.from_covariance(np.eye(3))
    assert noise.whiten(jnp.ones(3, jnp.float32)).dtype == jnp.float32
    assert DiagonalNoise(np.ones(3)).whiten(jnp.ones(3, jnp.complex64)).dtype == jnp.complex64


@pytest.mark.parametrize(
    "matrix, words", [(np.diag([1.0, -1.0]), "not positive definite"), (np.array([[1, 0.5], [0, 1]]), "not symmetric")]
)
def test_what_is_no_covariance_is_refused(matrix, words):
    with pytest.raises(ValueError, match=words):
        DenseNoise.from_covariance(matrix)
