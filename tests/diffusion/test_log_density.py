"""Log-densities against closed forms, against the sum that every density has, and as a scale for candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal

from dichroic.diffusion import (
    ComponentsDenoiser,
    DenoiserPrior,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Scaling,
    Schedule,
    log_density,
    rank_candidates,
)
from oracles import SIGMAS, MatrixDenoiser, random_covariance

SCALING = Scaling(1.5, 0.2)
SCHEDULE = Schedule(5e-3, 20.0)  # that of a fit
MEANS, WEIGHTS = np.array([[2.0, 0, -1], [-1.0, 1, 0], [0.0, -2, 1]]), np.array([0.5, 0.3, 0.2])


def normal(x, mean, covariance, noise=0.0):
    """Closed form in the user's units, under noise of `noise` standard deviations of the source."""
    scale, shift = SCALING.scale, SCALING.shift
    C = scale**2 * (covariance + noise**2 * np.eye(len(covariance)))
    return multivariate_normal(shift + scale * mean, C).logpdf(x)


def mixture(rng):
    covariances = np.stack([random_covariance(rng, 3, condition=10) * 0.3 for _ in WEIGHTS])
    denoiser = ComponentsDenoiser.from_covariances(WEIGHTS, MEANS, covariances)

    def closed(x, noise=0.0):
        parts = [normal(x, m, C, noise) for m, C in zip(MEANS, covariances, strict=True)]
        return logsumexp(np.log(WEIGHTS)[:, None] + np.stack(parts), axis=0)

    def draw(n):
        chosen = rng.choice(3, n, p=WEIGHTS)
        z = [rng.multivariate_normal(MEANS[k], covariances[k]) for k in chosen]
        return SCALING.to_user(np.stack(z))

    return DenoiserPrior(denoiser, SCHEDULE, SCALING), closed, draw


@pytest.mark.parametrize("variance", [1.0, 100.0])
def test_gaussian(float64, rng, variance):
    # a variance a quarter of the highest noise level's: the population is not to be left out of it
    mean, C = rng.normal(size=4), variance * random_covariance(rng, 4)
    prior = DenoiserPrior(GaussianDenoiser.from_covariance(mean, C), SCHEDULE, SCALING)
    x = SCALING.to_user(rng.multivariate_normal(mean, 2 * C, size=20))
    found = log_density(prior, x, tolerance=1e-8)
    np.testing.assert_allclose(found.value, normal(x, mean, C, SCHEDULE.sigma_min), atol=1e-6)
    np.testing.assert_allclose(found.value, normal(x, mean, C), atol=4e-3)
    assert found.solved.all()
    assert not found.error.any()
    assert found.size == 4


def test_mixture(float64, rng):
    prior, closed, draw = mixture(rng)
    x, far = draw(30), SCALING.to_user(rng.normal(size=(10, 3)) * 3)
    value = log_density(prior, np.concatenate([x, far]), tolerance=1e-7).value
    for noise in (0.0, SCHEDULE.sigma_min):
        np.testing.assert_allclose(value[:30], closed(x, noise), atol=3 * 1e-3)
        # far outside, down to a density of exp(-200), what is not Gaussian of it at the highest noise level tells
        np.testing.assert_allclose(value[30:], closed(far, noise), rtol=2e-3, atol=3 * 1e-3)


def test_low_rank_gaussian_and_a_random_trace_that_leaves_nothing_to_chance(float64, rng, getkey):
    diagonal, U, mean = rng.uniform(0.5, 1.0, 6), rng.normal(size=(6, 2)), rng.normal(size=(2, 3))
    prior = DenoiserPrior(LowRankGaussianDenoiser(mean, diagonal, U), SCHEDULE, SCALING)
    x = SCALING.to_user(rng.normal(size=(10, 2, 3)))
    found = log_density(prior, x, tolerance=1e-7, trace="hutchinson", key=getkey(), probes=2)
    expected = normal(x.reshape(10, 6), mean.reshape(6), np.diag(diagonal) + U @ U.T)
    np.testing.assert_allclose(found.value, expected, atol=6 * 1e-3)
    np.testing.assert_allclose(found.error, 0, atol=1e-8)


def test_random_trace(float64, rng, getkey):
    prior, _, draw = mixture(rng)
    x, key = draw(40), getkey()
    exact = log_density(prior, x).value
    found = log_density(prior, x, key=key, trace="hutchinson", probes=16, batch=16)
    assert found.error.min() > 0
    # each of the 40 within its error, as the t distribution of few probes has it; together, unbiased
    assert np.std((found.value - exact) / found.error) == pytest.approx(1, abs=0.4)
    assert abs(np.mean(found.value - exact)) < SIGMAS * np.sqrt(np.mean(found.error**2) / 40)
    # candidates do not depend on each other
    apart = log_density(prior, x[:20], key=key, trace="hutchinson", probes=16, batch=16)
    np.testing.assert_allclose(apart.value, found.value[:20], atol=1e-9)


def test_the_density_of_a_network_sums_to_one(float64, getkey):
    # a flow carries volume from one end to the other, whatever its field: here that of an untrained network
    denoiser = NetworkDenoiser.create((1,), MLPConfig(width=16, depth=1, embedding=8), key=getkey())
    denoiser = jax.tree.map(lambda w: w.astype(float), denoiser)
    prior = DenoiserPrior(denoiser, SCHEDULE, SCALING)
    grid = SCALING.to_user(np.linspace(-12, 12, 768))[:, None]
    density = np.exp(log_density(prior, grid).value)
    assert density[[0, -1]].max() < 1e-4
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=2e-3)
    assert np.abs(np.diff(density)).max() > 0.01  # of this network, not of nothing


@pytest.mark.slow
def test_quantiles_of_the_source_are_uniform_and_those_of_others_are_not(rng, getkey):
    prior, closed, draw = mixture(rng)
    strange = SCALING.to_user(np.array([[8.0, 8, 8], [0, 0, 6]]))
    x = np.concatenate([strange, draw(300)])
    ranking = rank_candidates(prior, x, key=getkey(), draws=400)
    # in single precision, and at the default tolerance
    np.testing.assert_allclose(ranking.candidates.value[2:], closed(x[2:]), atol=3 * 1e-3)
    assert (ranking.quantile[:2] < 0.01).all()
    assert kstest(ranking.quantile[2:], "uniform").pvalue > 1e-3
    assert len(ranking.draws.value) == 400


class TestFaults:
    @pytest.fixture
    def prior(self):
        return DenoiserPrior(GaussianDenoiser(np.zeros((2, 3)), np.eye(6), np.ones(6), np.zeros(())))

    def test_shape(self, prior):
        for shape in [(2, 3), (4, 6), (1, 1, 2, 3)]:
            with pytest.raises(ValueError, match=r"expected candidates of shape \(n, 2, 3\), got"):
                log_density(prior, np.zeros(shape))

    def test_none(self, prior):
        found = log_density(prior, np.zeros((0, 2, 3)))
        assert found.value.shape == found.solved.shape == (0,)

    def test_not_finite(self, prior, getkey):
        x = np.zeros((3, 2, 3))
        x[1, 0, 0] = np.nan
        with pytest.raises(ValueError, match=r"got NaN or infinity in those at \[1\]"):
            rank_candidates(prior, x, key=getkey())

    def test_random_trace_without_randomness(self, prior, getkey):
        x = np.zeros((1, 2, 3))
        with pytest.raises(ValueError, match="got no key and 8"):
            log_density(prior, x, trace="hutchinson")
        with pytest.raises(ValueError, match="got a key and 1"):
            log_density(prior, x, trace="hutchinson", key=getkey(), probes=1)

    def test_moments(self):
        prior = DenoiserPrior(MatrixDenoiser(0.5 * jnp.eye(2)))
        with pytest.raises(TypeError, match="the moments of a MatrixDenoiser are not known"):
            log_density(prior, np.zeros((1, 2)))

    def test_a_failed_solve_is_told(self, prior):
        wild = MatrixDenoiser(jnp.full((2, 2), jnp.nan))
        unit = GaussianDenoiser(np.zeros(2), np.eye(2), np.ones(2), np.zeros(()))
        found = log_density(DenoiserPrior(wild), np.ones((3, 2)), population=unit)
        assert not found.solved.any()
        assert np.isnan(found.value).all()
