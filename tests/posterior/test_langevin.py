"""BASIS, soft and on the data, against the laws of two scalar Gaussians (section 7.1 of the specification).

They have variances of 1 and 0.5, and gains of 1 and 2.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Schedule
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import BASIS, ModifiedBASIS
from dichroic.posterior.method import Task
from dichroic.problem import Source, View
from posterior_cases import whiten

A, Y = np.array([[1.0, 2.0]]), 3.0
VARIANCES = np.array([1.0, 0.5])


def priors():
    zero, schedule = np.zeros(1, np.float32), Schedule(5e-3, 10.0)
    return {
        s: DenoiserPrior(GaussianDenoiser(zero, np.zeros((1, 0), np.float32), zero[:0], np.float32(v)), schedule)
        for s, v in zip(("x", "n"), VARIANCES, strict=True)
    }


def view(n, noise=0.0):
    mixing = {"x": Dense(A[:, :1].astype(np.float32)), "n": Dense(A[:, 1:].astype(np.float32))}
    return View(np.full((n, 1), Y, np.float32), mixing, noise).bind({"x": Source((1,)), "n": Source((1,))})


@cache
def program(method):
    data = view(1)
    (leg,), _ = method.legs(Task(data.noisy, priors(), jax.random.key(0), exact=True))

    @jax.jit
    def run(start, levels, key):
        target = leg.build(whiten(data.y[0], data.mixing, DiagonalNoise(1.0)), False)

        def one(start, key):
            def step(x, at):
                s, k = at
                return leg.step(target, x, s, s, jax.random.fold_in(key, k))[0], None

            x, _ = jax.lax.scan(step, {"x": start[:1], "n": start[1:]}, (levels, jnp.arange(len(levels))))
            return jnp.concatenate([x["x"], x["n"]])

        return jax.vmap(one)(start, jax.random.split(key, len(start)))

    return run


def walked(method, start, *levels):
    """States after the moves of some levels."""
    return np.asarray(program(method)(start.astype(np.float32), np.array(levels, np.float32), jax.random.key(1)))


def assert_law(x, mean, V, share=0.03):
    """To four standard errors and what moves of this length are off by."""
    np.testing.assert_allclose(x.mean(0), mean, atol=4 * np.sqrt(np.diag(V) / len(x)).max() + share)
    error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / len(x))
    np.testing.assert_allclose(np.cov(x.T), V, atol=(4 * error + share * np.abs(V)).max())


def law(P, width):
    V = np.linalg.inv(np.diag(P) + A.T @ A / width)
    return V @ A[0] * Y / width, V


def drawn_of(mean, V, n=1000):
    return np.random.default_rng(0).multivariate_normal(mean, V, n)


@pytest.mark.parametrize(
    ("s", "mean", "V"),
    [
        pytest.param(1.0, [0.667, 1.0], [[1.556, -0.667], [-0.667, 0.5]], marks=pytest.mark.slow),
        (0.3, [0.924, 1.0], [[0.754, -0.363], [-0.363, 0.197]]),
    ],
)
def test_the_law_of_basis_at_one_level(s, mean, V):
    """Published, with the width of the level and the sign of (13); and with the width of all gains."""
    for method, width in ((BASIS(width="level", length=0.06, rounds=500), 1), (BASIS(length=0.1, rounds=250), 5)):
        expected = law(1 / (VARIANCES + s**2), width * s**2)
        if width == 1:
            np.testing.assert_allclose(expected[0], mean, atol=1e-3)
            np.testing.assert_allclose(expected[1], V, atol=1e-3)
        x = walked(method, start := drawn_of(*expected), s)
        assert_law(x, *expected)
        assert np.abs(x - start).mean() > 0.3
        # and from elsewhere they come there, as fast as the data are precise
        far = walked(method, start + A, s)
        assert np.abs((far - x) @ A[0]).mean() < 0.01


def test_basis_with_the_sign_in_print_diverges():
    """Check 11, its second half: moves are linear here, and where the data push the other way one of them grows."""
    s, leg = 0.3, BASIS(width="level", length=0.06).legs(Task(view(1).noisy, priors(), jax.random.key(0), exact=True))
    target = leg[0][0].build(whiten(view(1).y[0], view(1).mixing, DiagonalNoise(1.0)), False)
    states = {"x": jnp.array([[0.0], [1.0], [0.0]]), "n": jnp.array([[0.0], [0.0], [1.0]])}
    mean = jax.jit(jax.vmap(lambda x: target.mean(x, jnp.float32(s))[0]))(states)
    zero, *slopes = (np.concatenate([mean["x"], mean["n"]], 1) - np.concatenate([states["x"], states["n"]], 1)) / s**2
    force = np.stack([slope - zero for slope in slopes], 1)  # of a state, as a matrix
    of_priors = -np.diag(1 / (VARIANCES + s**2))
    eta = 0.05 * s**2 / 5
    for sign, stable in ((1, True), (-1, False)):
        moves = np.eye(2) + eta * (of_priors + sign * (force - of_priors))
        assert (np.abs(np.linalg.eigvals(moves)).max() < 1) == stable
    np.testing.assert_allclose(force - of_priors, -A.T @ A / s**2, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_basis_through_ten_levels_lags_behind_as_published():
    """A hundred rounds a level end at a mean of 0.957 and a variance of 0.694, where 1 and 0.667 are right."""
    method = BASIS(width="level", length=6 * 2e-5 / 0.01**2, rounds=100)  # moves of 2e-5 at the last level
    start = np.random.default_rng(0).uniform(size=(8000, 2))
    x = walked(method, start, *np.geomspace(1, 0.01, 10))[:, 0]
    assert x.mean() == pytest.approx(0.957, abs=0.03) and x.var() == pytest.approx(0.694, abs=0.04)


def test_the_law_of_the_modified_basis_at_one_level():
    """Both priors on the data, half as hot: x is a Gaussian, and the other what is left."""
    s = 0.5
    P = 1 / (VARIANCES + s**2)
    precision = P[0] + P[1] / 4
    mean, V = np.array([P[1] * Y / 4 / precision]), np.array([[1 / precision]])
    x = walked(ModifiedBASIS(length=0.1, rounds=200, temperature=0.5), drawn_of([0, 0], np.eye(2)), s)
    np.testing.assert_allclose(x @ A[0], Y, atol=1e-5)
    assert_law(x[:, :1], mean, V / 2)


def test_noise_is_no_source_and_is_refused():
    with pytest.raises(ValueError, match="method 'modified_basis' is for data without noise"):
        ModifiedBASIS().bind(view(2, 0.1), priors(), key=jax.random.key(0))
