"""The likeliest combinations of components, against all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from dichroic.algebra import Components
from dichroic.closed.combinations import component_tree, gaussians, likeliest
from oracles import random_covariance


def random_components(rng, K: int, d: int = 3) -> Components:
    weights = rng.dirichlet(np.full(K, 5.0))
    return Components(
        weights, 3 * rng.normal(size=(K, d)), np.stack([0.3 * random_covariance(rng, d) for _ in range(K)])
    )


def part(mixture: Components):
    return jnp.log(mixture.weights), jnp.asarray(mixture.means), jnp.asarray(mixture.covariances)


@pytest.mark.parametrize("K", [1, 2, 5, 8])
def test_tree(K):
    """Every level has the moments of the mixture, and every component is a leaf once."""
    mixture = random_components(np.random.default_rng(K), K)
    with jax.enable_x64(True):
        levels, leaf = jax.tree.map(np.asarray, component_tree(mixture))
    assert sorted(leaf[leaf >= 0]) == list(range(K))
    assert [len(level[0]) for level in levels] == [2**i for i in range(len(levels))]

    def second(w, means, S):
        return np.einsum("k,kij->ij", w, S + means[:, :, None] * means[:, None, :])

    for log_w, means, S in levels:
        w = np.exp(log_w)
        np.testing.assert_allclose(w.sum(), 1)
        np.testing.assert_allclose(w @ means, mixture.weights @ mixture.means, atol=1e-12)
        expected = second(mixture.weights, mixture.means, mixture.covariances)
        np.testing.assert_allclose(second(w, means, S), expected, atol=1e-11)


def test_search_finds_the_likeliest():
    """Of 1,100 combinations it finds 32 that explain the data as well as the best 32, and none comes twice."""
    rng = np.random.default_rng(0)
    components = [random_components(rng, K) for K in (10, 11, 10)]
    with jax.enable_x64(True):
        parts, trees = [part(m) for m in components], [component_tree(m) for m in components]
        every = jnp.stack(jnp.meshgrid(*[jnp.arange(len(m)) for m in components], indexing="ij"), -1).reshape(-1, 3)
        find = jax.jit(lambda A, y: likeliest(trees, A, y, 32))
        density = jax.jit(lambda A, y, chosen: gaussians(parts, A, y, chosen)[0])
        missed = []
        for _ in range(20):
            A = [jnp.asarray(rng.normal(size=(4, 3))) for _ in components]
            truth = [m.means[rng.choice(len(m), p=m.weights)] for m in components]
            y = sum(a @ jnp.asarray(x) for a, x in zip(A, truth, strict=True)) + rng.normal(size=4)
            found = find(A, y)
            assert len({tuple(c) for c in np.asarray(found).tolist()}) == 32
            best = logsumexp(np.sort(density(A, y, every))[-32:])
            missed.append(best - logsumexp(density(A, y, found)))
    assert min(missed) >= -1e-12  # a lower bound
    assert np.mean(missed) < 0.02


@pytest.mark.slow
def test_fewer_than_asked_for():
    """What is not there is marked, and counts for nothing."""
    rng = np.random.default_rng(1)
    components = [random_components(rng, 3), random_components(rng, 1)]
    with jax.enable_x64(True):
        parts, trees = [part(m) for m in components], [component_tree(m) for m in components]
        A, y = [jnp.asarray(rng.normal(size=(2, 3))) for _ in components], jnp.asarray(rng.normal(size=2))
        found = likeliest(trees, A, y, 16)
        assert sorted(map(tuple, np.asarray(found)[np.asarray(found)[:, 0] >= 0].tolist())) == [(0, 0), (1, 0), (2, 0)]
        few = logsumexp(gaussians(parts, A, y, found)[0])
        np.testing.assert_allclose(few, logsumexp(gaussians(parts, A, y, jnp.asarray([[0, 0], [1, 0], [2, 0]]))[0]))
