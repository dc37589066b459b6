"""Closed-form denoisers against brute force and against the score of log p(x_t), at 1e-10."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from dichroic.diffusion import ComponentsDenoiser, GaussianDenoiser, LowRankGaussianDenoiser, exact_moments
from oracles import denoise, log_normal, random_covariance

pytestmark = pytest.mark.usefixtures("float64")

SIGMAS = [1e-3, 0.1, 1.0, 30.0]


def gaussian(rng):
    mean, S = rng.normal(size=4), random_covariance(rng, 4)
    return GaussianDenoiser.from_covariance(mean, S), [1.0], [mean], [S]


def image(rng):
    mean, S = rng.normal(size=(2, 3, 1)), random_covariance(rng, 6)
    return GaussianDenoiser.from_covariance(mean, S), [1.0], [mean.ravel()], [S]


def principal(rng):
    mean, S = rng.normal(size=5), random_covariance(rng, 5)
    values, Q = np.linalg.eigh(S)
    values[:3] = values[:3].mean()  # probabilistic PCA: the trailing eigenvalues become their mean
    return GaussianDenoiser.from_covariance(mean, S, rank=2), [1.0], [mean], [(Q * values) @ Q.T]


def isotropic(rng):
    mean = rng.normal(size=3)
    return GaussianDenoiser(mean, np.zeros((3, 0)), np.zeros(0), np.array(0.7)), [1.0], [mean], [0.7 * np.eye(3)]


def low_rank(rng):
    mean, diagonal, U = rng.normal(size=(5, 1)), rng.uniform(0.1, 2, 5), rng.normal(size=(5, 2))
    return LowRankGaussianDenoiser(mean, diagonal, U), [1.0], [mean.ravel()], [np.diag(diagonal) + U @ U.T]


def diagonal(rng):
    mean, variances = rng.normal(size=3), rng.uniform(0.1, 2, 3)
    return LowRankGaussianDenoiser(mean, variances, np.zeros((3, 0))), [1.0], [mean], [np.diag(variances)]


def mixture(rng):
    weights, means = np.array([0.6, 0.3, 0.1]), 2 * rng.normal(size=(3, 3))
    covariances = np.stack([random_covariance(rng, 3) * size for size in (0.1, 0.25, 1.5)])
    # weights that do not sum to one must be normalised
    return ComponentsDenoiser.from_covariances(5 * weights, means, covariances), weights, means, covariances


CASES = [gaussian, image, principal, isotropic, low_rank, diagonal, mixture]
every_case = pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])


@jax.jit
@partial(jax.vmap, in_axes=(None, None, None, 0, 0))
def score_and_hessian(weights, means, covariances, x_t, sigma):
    def log_density(x):
        noisy = covariances + sigma**2 * jnp.eye(len(x))
        return logsumexp(jnp.log(weights) + jax.vmap(partial(log_normal, x))(means, noisy))

    return jax.grad(log_density)(x_t), jax.hessian(log_density)(x_t)


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0))
def moments_and_mean(denoiser, x_t, sigma):
    return (*exact_moments(denoiser, x_t.reshape(denoiser.shape), sigma), denoiser(x_t.reshape(denoiser.shape), sigma))


@every_case
def test_tweedies_formulas_for_mean_and_covariance(make, rng):
    denoiser, *law = make(rng)
    weights, means, covariances = (np.asarray(a) for a in law)
    sigma = np.array(SIGMAS)
    x_t = means[0] + np.sqrt(1 + sigma[:, None] ** 2) * rng.normal(size=(len(sigma), means.shape[1]))
    score, hessian = score_and_hessian(weights, means, covariances, x_t, sigma)
    mean, V, R, called = moments_and_mean(denoiser, x_t, sigma)
    assert called.shape[1:] == denoiser.shape
    np.testing.assert_allclose(called, mean, atol=1e-12)
    expected = x_t + sigma[:, None] ** 2 * np.asarray(score)
    np.testing.assert_allclose(mean.reshape(x_t.shape), expected, rtol=1e-10, atol=1e-10)
    for k, s in enumerate(sigma):
        expected = s**2 * np.eye(x_t.shape[1]) + s**4 * np.asarray(hessian[k])
        # the oracle itself cancels: sigma^4 times a Hessian of size up to sigma^-2
        np.testing.assert_allclose(V[k], expected, atol=1e-10 * max(1, s**2))
        np.testing.assert_allclose(R[k] @ R[k].T, V[k], atol=1e-12)


@pytest.mark.parametrize("make", CASES[:-1], ids=[case.__name__ for case in CASES[:-1]])
def test_gaussians_against_brute_force(make, rng):
    denoiser, _, (mean,), (S,) = make(rng)
    x_t, one = mean + rng.normal(size=(len(SIGMAS), len(mean))), np.eye(len(mean))
    got, V, _, _ = moments_and_mean(denoiser, x_t, np.array(SIGMAS))
    for k, sigma in enumerate(SIGMAS):
        expected, covariance = denoise(mean, S, x_t[k], sigma)
        np.testing.assert_allclose(got[k].reshape(-1), expected, atol=1e-10)
        # three ways to write it
        np.testing.assert_allclose(V[k], covariance, atol=1e-10)
        np.testing.assert_allclose(V[k], np.linalg.inv(np.linalg.inv(S) + one / sigma**2), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(V[k], sigma**2 * one - sigma**4 * np.linalg.inv(S + sigma**2 * one), atol=1e-9)


@pytest.mark.parametrize("rank", [None, 1, 3, 9])
def test_covariance_of_a_gaussian_denoiser(rank, rng):
    S = random_covariance(rng, 4)
    found = GaussianDenoiser.from_covariance(np.zeros(4), S, rank).covariance()
    np.testing.assert_allclose(np.trace(found), np.trace(S), rtol=1e-12)
    if rank != 1:
        np.testing.assert_allclose(found, S, atol=1e-12)


@pytest.mark.parametrize("S", [np.zeros((3, 3)), np.diag([2.0, 0.0, 0.0])], ids=["zero", "rank one"])
def test_degenerate_gaussians_stay_on_their_support(S, rng):
    mean = rng.normal(size=3)
    x_t = mean + rng.normal(size=3)
    got = GaussianDenoiser.from_covariance(mean, S)(jnp.asarray(x_t), jnp.asarray(0.5))
    np.testing.assert_allclose(got, denoise(mean, S, x_t, 0.5)[0], atol=1e-12)


def test_mixture_far_from_every_component_is_finite_in_single_precision(rng):
    denoiser = mixture(rng)[0]
    x_t = jnp.full(3, 1e3, jnp.float32)
    assert np.isfinite(denoiser(x_t, jnp.asarray(1e-3, jnp.float32))).all()


def test_precision_follows_the_state(rng):
    for make in CASES:
        denoiser = make(rng)[0]
        x_t = jnp.zeros(denoiser.shape, jnp.float32)
        assert denoiser(x_t, jnp.asarray(0.1, jnp.float32)).dtype == jnp.float32
