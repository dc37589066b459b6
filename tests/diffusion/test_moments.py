"""Square roots of a covariance, and what becomes of a Jacobian that is no covariance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import algebra
from dichroic.diffusion import exact_moments
from oracles import MatrixDenoiser, random_covariance

pytestmark = pytest.mark.usefixtures("float64")


@partial(jax.jit, static_argnums=2)
def lanczos_root(V, epsilon, iterations):
    return algebra.lanczos_root(lambda v: V @ v, epsilon, iterations)


def root(V: np.ndarray) -> np.ndarray:
    w, Q = np.linalg.eigh(V)
    return (Q * np.sqrt(np.maximum(w, 0))) @ Q.T


@pytest.mark.parametrize("d", [1, 3, 8])
def test_lanczos_is_exact_with_as_many_products_as_dimensions(d, rng):
    V, epsilon = random_covariance(rng, d), rng.normal(size=d)
    got = lanczos_root(V, epsilon, d)
    np.testing.assert_allclose(got, root(V) @ epsilon, atol=1e-10)


@pytest.mark.parametrize("values", [[0.0] * 5, [2.0] * 5, [2.0, 2, 0, 0, 0], [1.0, 1, 1e-6, 1e-6, 1e-6]])
def test_lanczos_stops_in_an_invariant_subspace(values, rng):
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    V, epsilon = (Q * values) @ Q.T, rng.normal(size=5)
    got = lanczos_root(V, epsilon, 5)
    np.testing.assert_allclose(got, root(V) @ epsilon, atol=1e-7)


def test_lanczos_converges_with_the_number_of_products(rng):
    V, epsilon = random_covariance(rng, 12, condition=10), rng.normal(size=12)
    exact = root(V) @ epsilon
    errors = [np.linalg.norm(lanczos_root(V, epsilon, k) - exact) for k in (1, 3, 6)]
    assert errors[2] < 0.1 * errors[1] < 0.05 * errors[0]


def test_lanczos_in_single_precision(rng):
    V, epsilon = random_covariance(rng, 6), rng.normal(size=6)
    got = lanczos_root(V.astype(np.float32), epsilon.astype(np.float32), 6)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, root(V) @ epsilon, atol=1e-4)


def test_a_bad_jacobian_becomes_the_nearest_covariance(rng):
    J, sigma = rng.normal(size=(5, 5)), 0.7
    x_t = jnp.asarray(rng.normal(size=5))
    mean, V, R = exact_moments(MatrixDenoiser(jnp.asarray(J)), x_t, jnp.asarray(sigma))
    w, Q = np.linalg.eigh(sigma**2 * (J + J.T) / 2)
    assert w.min() < 0
    np.testing.assert_allclose(V, (Q * np.maximum(w, 0)) @ Q.T, atol=1e-10)
    np.testing.assert_allclose(R @ R.T, V, atol=1e-10)
    np.testing.assert_allclose(mean, J @ x_t, atol=1e-12)


def test_moments_batch(rng):
    J = jnp.asarray(rng.normal(size=(4, 3, 3)))
    x_t = jnp.asarray(rng.normal(size=(4, 3)))
    together = jax.vmap(lambda J, x: exact_moments(MatrixDenoiser(J), x, jnp.asarray(0.5)))(J, x_t)
    alone = [exact_moments(MatrixDenoiser(J[i]), x_t[i], jnp.asarray(0.5)) for i in range(4)]
    for i in range(4):
        np.testing.assert_allclose(together[1][i], alone[i][1], atol=1e-12)
