"""The dense algebra against NumPy, in both precisions and on both code paths (up to 6 entries, and beyond)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import small

cholesky, solve_lower, solve_upper, gain = (
    jax.jit(f) for f in (small.cholesky, small.solve_lower, small.solve_upper, small.gain)
)
solve_spd, psd_part, symmetric_eigen = (jax.jit(f) for f in (small.solve_spd, small.psd_part, small.symmetric_eigen))

SIZES = range(1, 13)
DTYPES = [np.float32, np.float64]
# rounding errors of the algorithms grow with n; the factor is what is left of them at n = 12 and condition 100
SLACK = 200


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def tolerance(dtype) -> float:
    return SLACK * float(np.finfo(dtype).eps)


def spd(rng, n: int, condition: float = 100.0) -> np.ndarray:
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (Q * np.geomspace(1, condition, n)) @ Q.T


def symmetric(rng, n: int) -> np.ndarray:
    S = rng.normal(size=(n, n))
    return S + S.T


def test_both_code_paths_are_covered():
    assert min(SIZES) <= small._ENTRIES < max(SIZES)


@pytest.mark.parametrize("n", SIZES)
def test_cholesky_agrees_with_numpy(n, dtype, rng):
    C = spd(rng, n)
    L = cholesky(jnp.asarray(C, dtype))
    assert L.dtype == dtype
    np.testing.assert_allclose(L, np.linalg.cholesky(C), atol=tolerance(dtype) * 10)
    assert np.all(np.triu(np.asarray(L), 1) == 0)


@pytest.mark.parametrize("n", [3, 8])
def test_cholesky_reads_only_the_lower_triangle(n, float64, rng):
    C = spd(rng, n)
    garbage = np.triu(rng.normal(size=(n, n)), 1)
    np.testing.assert_allclose(cholesky(jnp.asarray(np.tril(C) + garbage)), np.linalg.cholesky(C), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 12])
def test_cholesky_of_an_indefinite_matrix_is_nan_and_never_a_wrong_number(n, dtype, rng):
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = np.linspace(-1, 2, n) if n > 1 else np.array([-1.0])
    L = np.asarray(cholesky(jnp.asarray((Q * values) @ Q.T, dtype)))
    assert np.isnan(L).any()
    x = np.asarray(solve_spd(jnp.asarray((Q * values) @ Q.T, dtype), jnp.ones(n, dtype)))
    assert np.isnan(x).all()


@pytest.mark.parametrize("n", SIZES)
def test_solves_agree_with_numpy(n, dtype, rng):
    C, b = spd(rng, n), rng.normal(size=n)
    L = np.linalg.cholesky(C)
    arguments = jnp.asarray(L, dtype), jnp.asarray(b, dtype)
    np.testing.assert_allclose(solve_lower(*arguments), np.linalg.solve(L, b), rtol=0, atol=tolerance(dtype) * 10)
    np.testing.assert_allclose(solve_upper(*arguments), np.linalg.solve(L.T, b), rtol=0, atol=tolerance(dtype) * 10)
    x = solve_spd(jnp.asarray(C, dtype), arguments[1])
    np.testing.assert_allclose(x, np.linalg.solve(C, b), rtol=0, atol=tolerance(dtype) * 100)


def check_eigen(S: np.ndarray, dtype) -> np.ndarray:
    w, Q = (np.asarray(a) for a in symmetric_eigen(jnp.asarray(S, dtype)))
    scale = max(np.abs(S).max(), np.finfo(dtype).tiny)
    assert w.dtype == Q.dtype == dtype
    np.testing.assert_allclose(Q.T @ Q, np.eye(len(S)), atol=tolerance(dtype))
    np.testing.assert_allclose((Q * w) @ Q.T / scale, S / scale, atol=tolerance(dtype))
    np.testing.assert_allclose(np.sort(w) / scale, np.linalg.eigvalsh(S) / scale, atol=tolerance(dtype))
    return w


@pytest.mark.parametrize("n", SIZES)
def test_eigen_agrees_with_numpy(n, dtype, rng):
    if dtype is np.float32 and n not in (1, 2, 6, 7, 12):
        pytest.skip("compiling is most of the cost: single precision at the sizes where the path changes")
    for _ in range(20):
        check_eigen(symmetric(rng, n), dtype)


@pytest.mark.parametrize("n", [1, 2, 6, 7, 12])
def test_eigen_of_degenerate_matrices(n, dtype, rng):
    check_eigen(np.zeros((n, n)), dtype)
    check_eigen(3.0 * np.eye(n), dtype)
    check_eigen(np.ones((n, n)), dtype)
    v = rng.normal(size=n)
    check_eigen(np.outer(v, v), dtype)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    check_eigen((Q * np.where(np.arange(n) % 2, 2.0, -1.0)) @ Q.T, dtype)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 12])
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_eigen_does_not_depend_on_the_units(n, scale, dtype, rng):
    check_eigen(scale * symmetric(rng, n), dtype)


@pytest.mark.parametrize("n", [4, 6, 7, 16])
def test_eigen_reaches_the_small_eigenvalues_of_a_posterior_covariance(n, float64, rng):
    # a manifold: one wide direction and many narrow ones
    values = np.r_[1.0, np.full(n - 1, 1e-6)]
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    w, _ = symmetric_eigen(jnp.asarray((Q * values) @ Q.T))
    np.testing.assert_allclose(np.sort(w), np.sort(values), rtol=1e-8)


@pytest.mark.parametrize(("m", "k"), [(1, 1), (3, 5), (5, 3), (7, 7), (12, 4), (4, 12)])
def test_gain_is_that_of_the_large_system(m, k, dtype, rng):
    U, r = rng.normal(size=(m, k)), rng.normal(size=m)
    found = gain(jnp.asarray(U, dtype), jnp.asarray(r, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, U.T @ np.linalg.solve(np.eye(m) + U @ U.T, r), atol=tolerance(dtype))


@pytest.mark.parametrize("n", [1, 2, 5, 7, 12])
def test_psd_part_is_the_nearest_positive_semidefinite_matrix(n, dtype, rng):
    S = rng.normal(size=(n, n))  # not symmetric: its symmetric part counts
    w, Q = np.linalg.eigh((S + S.T) / 2)
    V, R = (np.asarray(a) for a in psd_part(jnp.asarray(S, dtype)))
    np.testing.assert_allclose(V, (Q * np.maximum(w, 0)) @ Q.T, atol=tolerance(dtype) * 5)
    np.testing.assert_allclose(R @ R.T, V, atol=tolerance(dtype) * 5)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 12])
def test_psd_part_of_zero_and_of_negative_matrices_is_zero(n, dtype, rng):
    for S in (np.zeros((n, n)), -spd(rng, n)):
        V, R = psd_part(jnp.asarray(S, dtype))
        np.testing.assert_allclose(V, 0, atol=tolerance(dtype) * 100)
        assert np.isfinite(R).all()


@pytest.mark.parametrize("n", [1, 4, 7])
def test_nan_stays_visible(n, float64):
    S = jnp.full((n, n), jnp.nan)
    assert np.isnan(psd_part(S)[0]).all()
    assert np.isnan(cholesky(S)).any()


@pytest.mark.parametrize("n", [3, 9])
def test_vmap_is_the_loop(n, float64, rng):
    C = np.stack([spd(rng, n) for _ in range(4)])
    b = rng.normal(size=(4, n))
    np.testing.assert_allclose(
        jax.vmap(solve_spd)(jnp.asarray(C), jnp.asarray(b)), np.linalg.solve(C, b[..., None])[..., 0], atol=1e-12
    )
    w, Q = jax.vmap(symmetric_eigen)(jnp.asarray(C))
    np.testing.assert_allclose(np.einsum("bij,bj,bkj->bik", Q, w, Q), C, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_tiny_matrices_are_not_lost_in_rounding(n, rng):
    # their squares are zero in single precision
    check_eigen(1e-30 * symmetric(rng, n), np.float32)


@pytest.mark.parametrize("n", [3, 6])
def test_nested_vmaps_of_the_eigenproblem_are_the_loop(n, float64, rng):
    S = np.stack([symmetric(rng, n) for _ in range(6)]).reshape(2, 3, n, n)
    w, Q = jax.vmap(jax.vmap(symmetric_eigen))(jnp.asarray(S))
    assert w.shape == (2, 3, n)
    np.testing.assert_allclose(np.einsum("...ij,...j,...kj->...ik", Q, w, Q), S, atol=1e-11)
