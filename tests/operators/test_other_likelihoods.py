"""Likelihoods that are not Gaussian: density, draws, what stands for them, and what they become at their ends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from dichroic.operators import Censored, DiagonalNoise, Laplace, Poisson, StudentT
from likelihood_cases import OTHERS

pytestmark = pytest.mark.usefixtures("float64")

M, N = 0.7, 4000
every = pytest.mark.parametrize(("likelihood", "values"), OTHERS.values(), ids=OTHERS)


@eqx.filter_jit
def sampled(likelihood, m):
    return likelihood.sample(jax.random.key(0), jnp.full(N, m))


@eqx.filter_jit
def density(likelihood, y, m=M):
    return jnp.exp(jax.vmap(lambda y: likelihood.log_prob(y[None], jnp.full(1, m)))(y))


@eqx.filter_jit
def at(likelihood, y, m):
    stand_in, noise = likelihood.gaussian_at(y, m)
    return stand_in, noise.whiten(stand_in - m)


@every
def test_draws_follow_a_density_that_is_normalised(likelihood, values):
    """Kolmogorov's distance of the draws from the integral of the density; atoms have their own shares."""
    y = np.asarray(sampled(likelihood, M))
    if values is not None:
        p = np.asarray(density(likelihood, values)) * (likelihood.gain if isinstance(likelihood, Poisson) else 1)
        assert p.sum() == pytest.approx(1, abs=1e-9)
        seen = np.array([(np.abs(y - v) < 1e-9).mean() for v in values])
        assert seen.sum() == pytest.approx(1) and np.all(np.abs(seen - p) < 4.5 * np.sqrt(p / N) + 1 / N)
        return
    low, high = likelihood.clipped if isinstance(likelihood, Censored) else (-400.0, 400.0)
    ends = np.asarray(density(likelihood, np.array([low, high]))) * isinstance(likelihood, Censored)
    t = np.linspace(-1, 1, 80001)
    grid = np.clip(M + 400 * t**3, low, high)  # fine about the mean, whose density may have a kink
    p = np.asarray(density(likelihood, np.clip(grid, low + 1e-9, high - 1e-9)))
    below = ends[0] + np.append(0, np.cumsum(np.diff(grid) * (p[1:] + p[:-1]) / 2))
    assert below[-1] + ends[1] == pytest.approx(1, abs=1e-5)
    inside = np.sort(y[(y > low) & (y < high)])
    assert np.all(np.abs(np.array([(y == low).mean(), (y == high).mean()]) - ends) < 4.5 * np.sqrt(ends / N) + 1e-9)
    cdf = np.interp(inside, grid, below)
    assert np.abs((y == low).mean() + np.arange(1, len(inside) + 1) / N - cdf).max() < 2 / np.sqrt(N)


@pytest.mark.parametrize("likelihood", [StudentT(0.4, 3), Laplace(0.4)])
def test_complex_densities_are_normalised_and_drawn_from(likelihood):
    radial = jax.jit(lambda r: jnp.exp(likelihood.log_prob((r + 0j)[None], jnp.zeros(1, complex))))
    total, _ = quad(lambda r: 2 * np.pi * r * float(radial(r)), 0, np.inf)
    assert total == pytest.approx(1, abs=1e-6)
    y = np.asarray(sampled(likelihood, 0j))
    # the share of draws within half the usual distance
    within, _ = quad(lambda r: 2 * np.pi * r * float(radial(r)), 0, 0.5)
    assert abs((np.abs(y) < 0.5).mean() - within) < 4.5 * np.sqrt(within * (1 - within) / N)
    assert abs(np.mean(y / np.abs(y))) < 4.5 / np.sqrt(N)


@every
def test_what_stands_for_it_has_chi_square_one(likelihood, values):
    """On average over data, which is what makes chi-square of draws a check whatever the noise."""
    if isinstance(likelihood, Censored) and likelihood.step:
        pytest.skip("what is rounded away is no Gaussian noise")
    square = np.asarray(at(likelihood, sampled(likelihood, M), jnp.full(N, M))[1]) ** 2
    assert abs(square.mean() - 1) < 5 * square.std() / np.sqrt(N)


@pytest.mark.parametrize(
    ("likelihood", "kind"),
    [
        (StudentT(0.4, 3), float),
        (StudentT(0.4, 3), complex),
        (Laplace(0.4), float),
        (Laplace(0.4), complex),
        (Censored(0.5, (-1.0, 1.0)), float),
        (Censored(0.5, step=0.5), complex),
    ],
)
def test_auxiliary_variables_are_those_of_the_posterior(likelihood, kind):
    """Means drawn anew given the auxiliary variables have the law they had, together with the data (Geweke, 2004)."""

    def normal(key):
        real, imaginary = jax.random.normal(key, (2, N))
        return real + 1j * imaginary if kind is complex else real

    @jax.jit
    def again(key):
        before, data, auxiliary, after = jax.random.split(key, 4)
        m = normal(before)
        y = likelihood.sample(data, m)
        stand_in, noise = likelihood.gaussian_drawn(auxiliary, y, m)
        variance = 1 / (1 + 1 / noise.std**2)  # of a mean of unit variance beforehand
        return m, y, variance * stand_in / noise.std**2 + jnp.sqrt(variance) * normal(after)

    m, y, anew = map(np.asarray, again(jax.random.key(0)))
    for part in (np.real, np.imag) if kind is complex else (np.real,):
        assert stats.ks_2samp(part(m), part(anew)).pvalue > 1e-3
        difference = part(y) * (part(anew) - part(m))
        assert abs(difference.mean()) < 4.5 * difference.std() / np.sqrt(N)
    assert stats.ks_2samp(np.abs(y - m), np.abs(y - anew)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("likelihood", "gaussian", "tolerance"),
    [
        (StudentT(0.4, np.inf), DiagonalNoise(0.4), 1e-12),
        (Censored(0.4, (-1e3, 1e3)), DiagonalNoise(0.4), 1e-12),
        (Censored(0.4, step=1e-4), DiagonalNoise(0.4), 1e-6),
        (Poisson(1e-9, 0.4), DiagonalNoise(0.4), 1e-6),
    ],
)
def test_the_ends_are_gaussian_noise(likelihood, gaussian, tolerance, rng):
    """Infinite freedom, limits far away, fine steps, and counts so many that reading them is all the noise there is."""
    y, m = jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.normal(size=5))

    @jax.jit
    def every_way(y, m):
        drawn = likelihood.gaussian_drawn(jax.random.key(0), y, m)
        return likelihood.gaussian_at(y, m), likelihood.gaussian_near(y), likelihood.gaussian_near(y, m, 0.5), drawn

    for found in every_way(y, m):
        np.testing.assert_allclose(found[1].std, 0.4, rtol=tolerance)
        np.testing.assert_allclose(found[0], y, rtol=tolerance, atol=1e-3 if isinstance(likelihood, Censored) else 1e-6)
    if not isinstance(likelihood, Poisson):
        offset = np.log(likelihood.step) * 5 if isinstance(likelihood, Censored) and likelihood.step else 0
        np.testing.assert_allclose(likelihood.log_prob(y, m) - offset, gaussian.log_prob(y, m), rtol=1e-6)


def test_many_counts_are_gaussian():
    counts, m = Poisson(0.5), jnp.array([1e8])
    y = m + 1e4
    gaussian = DiagonalNoise(np.sqrt(0.5 * 1e8))
    assert float(counts.log_prob(y, m)) == pytest.approx(float(gaussian.log_prob(y, m)), abs=1e-3)
    for stand_in, noise in (
        counts.gaussian_at(y, m),
        counts.gaussian_near(y),
        counts.gaussian_drawn(jax.random.key(0), y, m),
    ):
        np.testing.assert_allclose((stand_in - m) / noise.std**2, (y - m) / gaussian.std**2, rtol=1e-3)


def test_bounds_far_from_the_mean_are_finite():
    """Where the mean is hundreds of standard deviations from what was written, scores and draws still say where to."""
    noise = Censored(0.01, (0.0, 1.0), 0.1)
    y, m = jnp.array([0.0, 1.0, 0.5, 0.5]), jnp.array([3.0, -3.0, 4.0, -4.0])
    assert np.isfinite(jax.jit(noise.log_prob)(y, m))
    stand_in, _ = at(noise, y, m)
    assert np.all(np.sign(stand_in - m) == np.sign(y - m))
    drawn, _ = jax.jit(noise.gaussian_drawn)(jax.random.key(0), y, m)
    np.testing.assert_allclose(drawn, [0.05, 0.95, 0.55, 0.45], atol=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StudentT(0.1, 0), "freedom: expected a positive number, got 0"),
        (lambda: Poisson(1.0, -1), "read: expected a number that is 0 or more, got -1"),
        (lambda: Censored(0.1, (1, 0)), "clipped: expected the least and the largest value"),
        (lambda: Censored(0.1, step=-1), "step: expected a positive number"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_statistic_is_one_of_scipy():
    y = np.linspace(-2, 3, 7)
    for likelihood, law in (
        (StudentT(0.4, 3), stats.t(3, M, 0.4)),
        (Laplace(0.4), stats.laplace(M, 0.4)),
    ):
        np.testing.assert_allclose(np.log(np.asarray(density(likelihood, y))), law.logpdf(y), rtol=1e-9)
    k = np.arange(5.0)
    np.testing.assert_allclose(density(Poisson(1.0), k), stats.poisson(M).pmf(k), rtol=1e-9)
