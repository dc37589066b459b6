"""Candidates that stochastic denoisers draw: exact ones, their surroundings, the rules, and what they come to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import ComponentsDenoiser, DenoiserPrior, GaussianDenoiser, MLPConfig, Schedule
from dichroic.onestep import ExactDraws, Generator, GeneratorPrior, Noisy, stochastic_denoiser
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import Drawn, DrawnPosterior, observation_keys
from dichroic.posterior.drawn import surroundings
from dichroic.problem import View
from oracles import random_covariance
from posterior_cases import whiten

SCHEDULE = Schedule(5e-3, 20.0)


def single(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float32), tree)


def test_exact_draws_of_components_are_the_posterior_given_a_noisy_copy(rng, float64):
    means, covariances = 2 * rng.normal(size=(3, 2)), np.stack([random_covariance(rng, 2) for _ in range(3)]) / 4
    weights, sigma, x_t, n = np.array([0.2, 0.5, 0.3]), 0.8, np.array([0.4, -0.3]), 4000
    drawer = ExactDraws(ComponentsDenoiser.from_covariances(weights, means, covariances))
    noisy = Noisy(jnp.asarray(x_t), jnp.asarray(sigma))
    x = np.asarray(jax.jit(jax.vmap(lambda key: drawer.sample(key, noisy)))(jax.random.split(jax.random.key(0), n)))
    total = covariances + sigma**2 * np.eye(2)
    gap = x_t - means
    log_r = np.log(weights) - 0.5 * np.einsum("ki,ki->k", gap, np.linalg.solve(total, gap[..., None])[..., 0])
    r = np.exp(log_r - 0.5 * np.linalg.slogdet(total)[1])
    r /= r.sum()
    centres = means + np.einsum("kij,kj->ki", covariances, np.linalg.solve(total, gap[..., None])[..., 0])
    inner = covariances - covariances @ np.linalg.solve(total, covariances)
    mean = r @ centres
    V = np.einsum("k,kij->ij", r, inner) + (r * (centres - mean).T) @ (centres - mean)
    np.testing.assert_allclose(x.mean(0), mean, atol=4.5 * np.sqrt(V.max() / n))
    np.testing.assert_allclose(np.cov(x.T), V, atol=0.1 * V.max())


def test_what_draws_stand_for_has_the_moments_of_their_surroundings(rng, float64):
    x = rng.normal(size=(6, 2))
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    w = np.exp(-0.5 * (distances / np.sort(distances, axis=1)[:, [4]]) ** 2)
    w /= w.sum(1, keepdims=True)
    means, roots = jax.jit(lambda x: surroundings(x, 0.6, jnp.asarray(1e-4)))(x)
    for k in range(6):
        m = w[k] @ x
        C = (w[k] * (x - m).T) @ (x - m)
        np.testing.assert_allclose(means[k], m + 0.8 * (x[k] - m), atol=1e-9)
        np.testing.assert_allclose(roots[k] @ roots[k].T, 0.36 * C, atol=1e-7)


@pytest.mark.parametrize("rule", ["tuples", "ensemble"])
def test_the_mean_is_that_of_all_tuples(rule, rng, float64):
    A, y, sizes, K = {"a": rng.normal(size=(2, 2)), "b": rng.normal(size=(2, 1))}, rng.normal(size=2), (2, 1), 5
    whitened = whiten(y, {s: Dense(a) for s, a in A.items()}, DiagonalNoise(0.3))
    laws = [ComponentsDenoiser.from_covariances(np.ones(2) / 2, rng.normal(size=(2, d)), np.tile(np.eye(d), (2, 1, 1)))
            for d in sizes]  # fmt: skip
    target = DrawnPosterior(
        whitened, whitened.matrices(), whitened.y, dict(zip(A, map(ExactDraws, laws), strict=True)), K, 0.5, rule
    )
    x_t = {s: jnp.zeros(d) for s, d in zip(A, sizes, strict=True)}

    @jax.jit
    def both(sigma):
        return target.mean(x_t, sigma)[0], {s: target.candidates(s, x_t[s], sigma, None) for s in A}

    found, chosen = both(jnp.asarray(1.5))
    chosen = jax.tree.map(np.asarray, chosen)
    counts = [len(c.means) for c in chosen.values()]
    assert counts == [K if rule == "tuples" else 1] * 2
    B = np.concatenate(list(A.values()), axis=1)
    total, mass = 0.0, 0.0
    for i, j in np.ndindex(*counts):
        mu = np.concatenate([chosen["a"].means[i], chosen["b"].means[j]])
        V = np.zeros((3, 3))
        V[:2, :2] = chosen["a"].roots[i] @ chosen["a"].roots[i].T
        V[2:, 2:] = chosen["b"].roots[j] @ chosen["b"].roots[j].T
        S, gap = B @ V @ B.T + 0.09 * np.eye(2), y - B @ mu
        weight = np.exp(-0.5 * gap @ np.linalg.solve(S, gap)) / np.sqrt(np.linalg.det(S))
        total, mass = total + weight * (mu + V @ B.T @ np.linalg.solve(S, gap)), mass + weight
    np.testing.assert_allclose(np.concatenate([found["a"], found["b"]]), total / mass, atol=1e-6)


@pytest.mark.slow
def test_both_modes_of_two_sources_are_drawn():
    law = single(
        ComponentsDenoiser.from_covariances(np.ones(2) / 2, np.array([[-1.0], [1.0]]), np.full((2, 1, 1), 0.01))
    )
    priors = {s: DenoiserPrior(law, SCHEDULE) for s in "ab"}
    n, one = 1024, np.eye(1, dtype=np.float32)
    view = View(np.zeros((n, 1), np.float32), {s: Dense(one) for s in "ab"}, 0.2).bind({s: (1,) for s in "ab"})
    bound = Drawn(candidates=16, steps=2, batch=n).bind(view, priors, key=jax.random.key(0))
    drawn = bound.draw(observation_keys(jax.random.key(2), n))
    a, b = (drawn.samples[s][:, 0] for s in "ab")
    assert np.mean((np.abs(np.abs(a) - 1) < 0.4) & (a * b < 0)) > 0.97
    assert abs(np.mean(a > 0) - 0.5) < 4.5 * 0.5 / np.sqrt(n)
    assert drawn.cost.forward == 3 * 16 and drawn.cost.products == 0
    # variances of 0.01 of either, of whose sum the noise of 0.04 leaves two thirds
    assert (a + b).std() == pytest.approx(np.sqrt(0.02 * 2 / 3), rel=0.12)


@pytest.mark.slow
def test_a_generator_with_levels_is_drawn_by_and_others_are_refused(getkey):
    mean, V = np.array([0.3, -0.2]), np.array([[1.0, 0.6], [0.6, 0.8]])
    base = single(GaussianDenoiser.from_covariance(mean, V))
    made = Generator.create(base, MLPConfig(width=8, depth=1, embedding=4), stochastic=True, key=getkey())
    prior, n = GeneratorPrior(made, (4.0, 1.0)), 512
    view = View(np.full((n, 1), 0.7, np.float32), {"x": Dense(np.array([[1, 0]], np.float32))}, 0.5).bind({"x": (2,)})
    bound = Drawn(candidates=24, steps=1, batch=n).bind(view, {"x": prior}, key=getkey())
    x = bound.draw(observation_keys(getkey(), n)).samples["x"]
    gain = V[:, :1] / (1 + 0.25)
    np.testing.assert_allclose(x.mean(0), mean + gain[:, 0] * 0.4, atol=0.15)
    np.testing.assert_allclose(np.cov(x.T), V - gain @ V[:1], atol=0.2)
    plain = GeneratorPrior(Generator.create(base, MLPConfig(width=8, depth=1, embedding=4), key=getkey()))
    assert stochastic_denoiser(plain) is None
    with pytest.raises(ValueError, match="of kind 'generator', does not"):
        Drawn().bind(view, {"x": plain}, key=getkey())
