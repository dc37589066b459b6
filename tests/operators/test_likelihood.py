"""What every likelihood obeys: a density that integrates to one, draws of it, a Gaussian that stands for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from dichroic.operators import LIKELIHOODS, DenseNoise, GaussianNoise, Likelihood, Poisson
from likelihood_cases import IN_ONE_DIMENSION, REGISTERED, SHAPE

pytestmark = pytest.mark.usefixtures("float64")


def make(key: str, argument) -> Likelihood:
    return LIKELIHOODS[key](**argument) if isinstance(argument, dict) else LIKELIHOODS[key](argument)


EVERY = {f"{key}-{i}": make(key, a) for key, examples in REGISTERED.items() for i, a in enumerate(examples)}
every_likelihood = pytest.mark.parametrize("likelihood", EVERY.values(), ids=EVERY)
in_one_dimension = pytest.mark.parametrize("likelihood", IN_ONE_DIMENSION.values(), ids=IN_ONE_DIMENSION)
real_and_complex = pytest.mark.parametrize("kind", [float, complex])


def numbers(rng, kind=float, shape=SHAPE):
    x = rng.normal(size=shape)
    return jnp.asarray(x + 1j * rng.normal(size=shape) if kind is complex else x)


@pytest.mark.parametrize("key", LIKELIHOODS)
def test_every_registered_likelihood_has_an_example(key):
    assert REGISTERED.get(key), f"add an example of '{key}' to the tests' cases"


@in_one_dimension
def test_the_density_integrates_to_one(likelihood):
    m = jnp.array([0.7])
    density = jax.jit(lambda y: jnp.exp(likelihood.log_prob(jnp.array([y]), m)))
    total, _ = quad(lambda y: float(density(y)), -30, 30, points=[0.7], limit=200, epsabs=1e-9)
    np.testing.assert_allclose(total, 1, atol=1e-8)


@in_one_dimension
def test_the_density_of_complex_data_integrates_to_one(likelihood):
    m = jnp.array([0.7 - 0.2j])
    grid = np.linspace(-10, 10, 401)
    y = m + jnp.asarray(grid[:, None] + 1j * grid)[..., None]
    density = jax.jit(jax.vmap(jax.vmap(lambda y: jnp.exp(likelihood.log_prob(y, m)))))(y)
    np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1, atol=1e-8)


@every_likelihood
@real_and_complex
def test_draws_follow_the_density(likelihood, kind, rng):
    """The mean of the score over draws is zero, and that of its square the information: minus the mean curvature."""
    if not isinstance(likelihood, GaussianNoise):
        pytest.skip("others are tested in one dimension")
    m, n = numbers(rng, kind), 4000
    y = jax.vmap(lambda key: likelihood.sample(key, m))(jax.random.split(jax.random.key(0), n))
    assert y.shape == (n, *SHAPE) and y.dtype == m.dtype

    def log_prob(y, a):
        parts = a[0] + 1j * a[1] if kind is complex else a[0]
        return likelihood.log_prob(y, m + parts)

    zero = jnp.zeros((2 if kind is complex else 1, *SHAPE))
    score = jax.jit(jax.vmap(lambda y: jax.grad(log_prob, argnums=1)(y, zero)))(y).reshape(n, -1)
    curvature = jax.jit(jax.hessian(log_prob, argnums=1))(y[0], zero).reshape(zero.size, zero.size)
    deviation = np.asarray(score.std(0))
    assert np.all(np.abs(score.mean(0)) < 4.5 * deviation / np.sqrt(n))
    square = np.einsum("ni,nj->nij", score, score)
    assert np.all(np.abs(square.mean(0) + curvature) < 4.5 * square.std(0) / np.sqrt(n) + 1e-9)


@every_likelihood
@real_and_complex
def test_missing_entries_say_nothing(likelihood, kind, rng):
    observed = np.array([[True, False, True], [True, True, True]])
    if isinstance(likelihood, DenseNoise):
        pytest.skip("correlated noise is decoupled from missing entries when the view is bound: tested there")
    if isinstance(likelihood, Poisson) and kind is complex:
        pytest.skip("counts are real")
    y, m = numbers(rng, kind), numbers(rng, kind)
    odd = jnp.where(observed, y, jnp.nan)
    assert np.isfinite(likelihood.log_prob(odd, m, observed))
    total = sum(likelihood.log_prob(y, m, observed=np.arange(6).reshape(SHAPE) == i) for i in range(6) if i != 1)
    np.testing.assert_allclose(likelihood.log_prob(odd, m, observed), total, rtol=1e-12)
    assert likelihood.log_prob(y, m, np.zeros(SHAPE, bool)) == 0


@every_likelihood
@real_and_complex
def test_the_gaussian_that_stands_for_it_has_its_score_and_curvature(likelihood, kind, rng):
    if isinstance(likelihood, Poisson) and kind is complex:
        pytest.skip("counts are real")
    y, m = numbers(rng, kind), numbers(rng, kind)
    stand_in, noise = likelihood.gaussian_at(y, m)
    assert isinstance(noise, GaussianNoise)
    direction = numbers(rng, kind)
    own = jax.grad(lambda a: likelihood.log_prob(y, m + a * direction))
    other = jax.grad(lambda a: noise.log_prob(stand_in, m + a * direction))
    np.testing.assert_allclose(own(0.0), other(0.0), rtol=1e-10)
    if isinstance(likelihood, GaussianNoise):
        assert noise is likelihood and stand_in is y


@every_likelihood
def test_a_scaled_noise_is_that_many_times_larger(likelihood, rng):
    if not isinstance(likelihood, GaussianNoise):
        pytest.skip("for Gaussian noise")
    m = numbers(rng)
    small, large = (law.sample(jax.random.key(1), m) - m for law in (likelihood, likelihood.scaled(2.5)))
    np.testing.assert_allclose(large, 2.5 * small, rtol=1e-12)
    wrapped = GaussianNoise.scaled(likelihood, 2.5)
    for law in (likelihood.scaled(2.5), wrapped):
        np.testing.assert_allclose(law.solve(m), likelihood.solve(m) / 2.5**2, rtol=1e-12)
        own = likelihood.log_prob(m / 2.5, 0 * m) - 6 * np.log(2.5)
        np.testing.assert_allclose(law.log_prob(m, 0 * m), own, rtol=1e-12)


@every_likelihood
def test_deviations_are_those_of_its_draws(likelihood):
    if not isinstance(likelihood, GaussianNoise):
        pytest.skip("for Gaussian noise")
    n = 4000
    zero = jnp.zeros(SHAPE)
    draws = jax.vmap(lambda key: likelihood.sample(key, zero))(jax.random.split(jax.random.key(2), n)).reshape(n, -1)
    std = np.broadcast_to(likelihood.deviations().reshape(-1), 6)
    assert np.all(np.abs(draws.std(0) / std - 1) < 4.5 / np.sqrt(2 * n))
    together = np.corrcoef(draws.T) - np.eye(6)
    assert (likelihood.diagonal() is not None) == bool(np.all(np.abs(together) < 5 / np.sqrt(n)))
