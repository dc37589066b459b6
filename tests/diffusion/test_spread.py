"""The measured covariance of a denoiser's errors, against the closed form of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import memory
from dichroic.diffusion import GaussianDenoiser, Schedule, measure_spread, principal_directions

SCHEDULE = Schedule(1e-2, 1e1)


def _gaussian(d: int = 6, seed: int = 0) -> tuple[GaussianDenoiser, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(d, d)) / np.sqrt(d)
    covariance = factor @ factor.T + 0.05 * np.eye(d)
    return GaussianDenoiser.from_covariance(np.zeros(d), covariance), covariance


@pytest.mark.slow
def test_a_gaussian_denoiser_errs_by_its_posterior_covariance():
    denoiser, covariance = _gaussian()
    n = 4096
    x = np.random.default_rng(1).multivariate_normal(np.zeros(6), covariance, n)
    basis = jnp.asarray(denoiser.basis, jnp.float32)
    spread = measure_spread(denoiser, SCHEDULE, jnp.asarray(x, jnp.float32), basis, key=jax.random.key(0))
    for sigma in np.exp(np.asarray(spread.log_sigma))[::6]:
        _, exact, _ = denoiser.moments_given(jnp.asarray(sigma))
        _, measured, _ = spread.moments_given(jnp.asarray(sigma, jnp.float32))
        # the relative standard error of a variance from n samples is the root of 2/n
        np.testing.assert_allclose(measured, exact, rtol=4.5 * np.sqrt(2 / n))


def test_what_the_basis_leaves_out_is_in_the_rest():
    denoiser, covariance = _gaussian()
    x = np.random.default_rng(1).multivariate_normal(np.zeros(6), covariance, 4096).astype(np.float32)
    thin = jnp.asarray(denoiser.basis[:, :2], jnp.float32)
    spread = measure_spread(denoiser, SCHEDULE, jnp.asarray(x), thin, key=jax.random.key(0))
    _, values, rest = spread.moments_given(jnp.asarray(1.0))
    _, exact, _ = denoiser.moments_given(jnp.asarray(1.0))
    assert values.shape == (2,)
    np.testing.assert_allclose(rest, np.mean(exact[2:]), rtol=0.1)


def test_below_the_ladder_the_noise_is_the_error():
    denoiser, covariance = _gaussian()
    x = np.random.default_rng(1).multivariate_normal(np.zeros(6), covariance, 512).astype(np.float32)
    basis = jnp.asarray(denoiser.basis, jnp.float32)
    spread = measure_spread(denoiser, SCHEDULE, jnp.asarray(x), basis, key=jax.random.key(0))
    at = spread.moments_given(jnp.asarray(1e-2))[1]
    below = spread.moments_given(jnp.asarray(1e-3))[1]
    np.testing.assert_allclose(below, at / 100, rtol=1e-4)


@pytest.mark.parametrize(
    "n, d, budget, used", [(200, 30, None, 200), (30, 200, None, 30), (200, 30, 1 << 19, 200), (300, 200, 1 << 21, 90)]
)
def test_principal_directions_are_those_of_a_decomposition(n, d, budget, used, monkeypatch):
    rng = np.random.default_rng(0)
    x = 5 + (rng.normal(size=(n, 12)) * 3.0 ** -np.arange(12)) @ rng.normal(size=(12, d))
    monkeypatch.setattr(memory, "_budget", budget)
    basis = principal_directions(x.astype(np.float32).reshape(n, d, 1), 5)
    expected = np.linalg.svd(x[:used] - x[:used].mean(0), full_matrices=False)[2][:5]
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.diag(expected @ basis)), 1, atol=1e-6)


def test_of_a_single_number_or_sample_there_is_no_direction():
    for shape in ((5, 1), (1, 4)):
        assert principal_directions(np.ones(shape), 3).shape == (shape[1], 0)
