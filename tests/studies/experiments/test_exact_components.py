"""The posterior of Gaussian-mixture sources against quadrature and importance sampling, which know no closed form."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from dichroic.algebra import Components
from dichroic.diffusion import Schedule
from dichroic.studies.experiments.exact_components import (
    ComponentsPosterior,
    components_along_manifolds,
    components_view,
    exact_prior,
)
from dichroic.studies.experiments.manifolds import manifolds
from oracles import SIGMAS, random_covariance


def scalar(weights, means, deviations) -> Components:
    return Components(np.array(weights), np.array(means)[:, None], np.square(deviations)[:, None, None])


SOURCES = {
    "a": scalar([0.5, 0.3, 0.2], [-1.0, 0.5, 2.0], [0.3, 0.1, 0.4]),
    "b": scalar([0.6, 0.4], [0.0, 1.5], [0.5, 0.2]),
}
A = {"a": np.array([[1.0], [0.2]]), "b": np.array([[0.7], [-0.4]])}
NOISE = np.array([[0.09, 0.02], [0.02, 0.2]])
Y = np.array([1.1, -0.3])


def density(mixture: Components, x: np.ndarray) -> np.ndarray:
    """Of a scalar source, written out."""
    out = np.zeros_like(x)
    for w, m, v in zip(mixture.weights, mixture.means[:, 0], mixture.covariances[:, 0, 0], strict=True):
        out += w * np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
    return out


def likelihood(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    r = Y - a[..., None] * A["a"][:, 0] - b[..., None] * A["b"][:, 0]
    return np.exp(-0.5 * np.einsum("...i,ij,...j->...", r, np.linalg.inv(NOISE), r))


@pytest.fixture(scope="module")
def quadrature():
    """Points of a fine grid and their posterior weights."""
    axis = np.linspace(-6, 6, 1201)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    weights = density(SOURCES["a"], a) * density(SOURCES["b"], b) * likelihood(a, b)
    return np.stack([a.ravel(), b.ravel()], axis=1), weights.ravel() / weights.sum()


def test_moments_are_those_of_quadrature(quadrature):
    x, weights = quadrature
    mean, covariance = ComponentsPosterior.of(SOURCES, A, Y, NOISE).moments()
    np.testing.assert_allclose(mean, weights @ x, atol=1e-8)
    np.testing.assert_allclose(covariance, np.cov(x.T, aweights=weights, ddof=0), atol=1e-8)


def test_draws_fill_the_boxes_that_quadrature_fills(quadrature):
    x, weights = quadrature
    n = 40_000
    drawn = ComponentsPosterior.of(SOURCES, A, Y, NOISE).sample(np.random.default_rng(0), n)
    assert drawn["a"].shape == drawn["b"].shape == (n, 1)
    edges = [np.array([-6, -0.5, 0.2, 0.6, 1.2, 6.0]) + 1e-6, np.array([-6, -0.2, 0.7, 1.4, 6.0]) + 1e-6]
    expected = np.histogram2d(*x.T, bins=edges, weights=weights)[0]
    found = np.histogram2d(drawn["a"][:, 0], drawn["b"][:, 0], bins=edges)[0] / n
    error = np.sqrt(expected * (1 - expected) / n)
    assert (expected > 0.01).sum() > 6
    # the grid resolves the edges of a box to a hundredth
    assert np.all(np.abs(found - expected) < SIGMAS * error + 0.012 * np.sqrt(expected))


def test_two_dimensional_sources_agree_with_importance_sampling():
    rng = np.random.default_rng(1)
    sources = {
        s: Components(
            np.array([0.7, 0.3]), rng.normal(size=(2, 2)), np.stack([random_covariance(rng, 2) for _ in "ab"])
        )
        for s in "pq"
    }
    matrices = {s: rng.normal(size=(2, 2)) for s in "pq"}
    noise = 0.5 * random_covariance(rng, 2, 3.0)
    y = rng.normal(size=2)
    n = 400_000
    x = np.concatenate([sources[s].sample(rng, n) for s in "pq"], axis=1)
    r = y - x @ np.concatenate([matrices[s] for s in "pq"], axis=1).T
    weights = np.exp(-0.5 * np.einsum("ni,ij,nj->n", r, np.linalg.inv(noise), r))
    weights /= weights.sum()
    mean, covariance = ComponentsPosterior.of(sources, matrices, y, noise).moments()
    error = np.sqrt(np.sum(weights**2) * np.diag(covariance))
    assert np.all(np.abs(weights @ x - mean) < SIGMAS * error)
    centred = x - mean
    second = np.einsum("n,ni,nj->ij", weights, centred, centred)
    spread = np.einsum("n,ni,nj->ij", weights**2, centred**2, centred**2)
    assert np.all(np.abs(second - covariance) < SIGMAS * np.sqrt(spread))


def test_too_many_tuples_are_refused():
    source = Components(np.full(2000, 1 / 2000), np.zeros((2000, 1)), np.ones((2000, 1, 1)))
    with pytest.raises(ValueError, match="2000 x 2000 tuples of components; at most 2000000"):
        ComponentsPosterior.of({"a": source, "b": source}, A, Y, NOISE)


def test_the_view_holds_what_its_posteriors_are_of():
    sources = components_along_manifolds(2, seed=3, components=32)
    view, posteriors = components_view(sources, 5, seed=3)
    assert len(view) == len(posteriors) == 5
    for i, posterior in enumerate(posteriors):
        assert np.isclose(posterior.weights.sum(), 1)
        truth = np.concatenate([view.truth[s][i] for s in sources])
        matrix = np.concatenate(list(posterior.A.values()), axis=1)
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), np.sqrt(2), rtol=1e-5)
        assert np.linalg.norm(view.y[i] - matrix @ truth) < 6 * 0.01
        # the truth is a draw of the posterior: not far from it in its own metric
        mean, covariance = posterior.moments()
        assert (truth - mean) @ np.linalg.solve(covariance + 1e-9 * np.eye(10), truth - mean) < 10 * SIGMAS**2


def test_mixtures_follow_their_manifolds():
    (name, manifold), *_ = manifolds(1, seed=2).items()
    mixture = components_along_manifolds(1, seed=2)[name]
    draws = mixture.sample(np.random.default_rng(0), 2000)
    nearest, _ = cKDTree(manifold(np.linspace(0, 1, 20_001))).query(draws)
    assert 0.03 < nearest.mean() < 0.06  # four of five dimensions at standard deviation 0.03: 0.056, less at crossings
    mean, covariance = mixture.moments()
    assert np.all(np.abs(draws.mean(0) - mean) < SIGMAS * np.sqrt(np.diag(covariance) / 2000))


def test_the_prior_is_the_mixture_in_other_units(float64):
    prior = exact_prior(SOURCES["a"], Schedule(), scale=2.0)
    x_t, sigma = np.array([0.8]), 0.6
    grid = np.linspace(-8, 8, 20_001)
    weights = density(SOURCES["a"], grid) * np.exp(-0.5 * ((x_t - grid) / sigma) ** 2)
    expected = (weights @ grid) / weights.sum()
    got = prior.scaling.to_user(np.asarray(prior.denoiser()(jnp.asarray(x_t / 2.0), jnp.asarray(sigma / 2.0))))
    np.testing.assert_allclose(got, [expected], atol=1e-8)
