"""Unknowns drawn beside the sources: against their posterior by quadrature, at the nominal rate."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import Auto, PerSample, Problem, Source, Unknown, View
from dichroic.algebra import Gaussian
from dichroic.diffusion import DenoiserPrior, Scaling, Schedule
from dichroic.operators import GaussianBlur
from dichroic.posterior import bind_instrument, given_sources, observation_keys

D, N, DRAWS, NOISE, SPREAD = 4, 200, 15, 0.3, 0.3
RNG = np.random.default_rng(0)
COVARIANCES = {s: B @ B.T / D + 0.2 * np.eye(D) for s, B in zip("xz", RNG.normal(size=(2, D, D)), strict=True)}
PRIORS = {
    s: DenoiserPrior.of(Gaussian.of(np.zeros(D), C), (D,), Schedule(), Scaling(), {}) for s, C in COVARIANCES.items()
}
SOURCES = {s: Source((D,)) for s in "xz"}
GAINS = 1 + SPREAD * RNG.normal(size=N)
TRUTH = {s: RNG.normal(size=(N, D)) @ np.linalg.cholesky(C).T for s, C in COVARIANCES.items()}
Y = 0.7 * TRUTH["x"] + GAINS[:, None] * TRUTH["z"] + NOISE * RNG.normal(size=(N, D))


@cache
def draws():
    """Every observation is a run of its own, with its own gain."""
    problem = Problem(SOURCES, {"v": View(Y, {"x": 0.7, "z": PerSample(Unknown(1.0, SPREAD))}, NOISE)})
    bound = bind_instrument(Auto(), problem.views["v"], PRIORS, key=jax.random.key(0))
    found = [bound.draw(observation_keys(jax.random.key(k), N)) for k in range(DRAWS)]
    return np.stack([one.instrument["mixing.z"] for one in found]), np.stack([one.chi_square for one in found])


def by_quadrature():
    """Mean and standard deviation of every gain given its observation, the sources integrated out."""
    g = np.linspace(1 - 5 * SPREAD, 1 + 5 * SPREAD, 401)
    C = NOISE**2 * np.eye(D) + 0.49 * COVARIANCES["x"] + g[:, None, None] ** 2 * COVARIANCES["z"]
    quadratic = np.einsum("ni,gij,nj->ng", Y, np.linalg.inv(C), Y)
    log = -(quadratic + np.linalg.slogdet(C)[1] + ((g - 1) / SPREAD) ** 2) / 2
    p = np.exp(log - log.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean = p @ g
    return mean, np.sqrt(p @ g**2 - mean**2)


@pytest.mark.slow
def test_gains_within_their_posterior_at_the_nominal_rate():
    drawn, _ = draws()
    ranks = (drawn < GAINS).sum(0)
    counts = np.histogram(ranks, np.arange(0, DRAWS + 2, 4))[0]
    expected = N / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 99.9 % of chi-square with 3 degrees of freedom


def test_gains_are_those_of_quadrature():
    drawn, chi_square = draws()
    mean, std = by_quadrature()
    z = (drawn.mean(0) - mean) / (std / np.sqrt(DRAWS))
    assert abs(z.mean()) < 4 / np.sqrt(N) and z.std() == pytest.approx(1.0, abs=0.2)
    assert np.mean(drawn.var(0, ddof=1)) == pytest.approx(np.mean(std**2), rel=0.1)
    assert chi_square.mean() == pytest.approx(1.0, abs=0.05)


def test_a_width_given_the_sources_is_that_of_a_grid():
    """What the chain of Metropolis and Hastings has drawn, of one observation with little to say of it."""
    noise, blur = 0.25, PerSample(GaussianBlur(Unknown(1.0, 0.4), (D,)))
    x = np.repeat(TRUTH["x"][:1], N, axis=0)
    y = x[:1] @ np.asarray(GaussianBlur(1.3, (D,))(jnp.eye(D))).T + noise * RNG.normal(size=(1, D))
    problem = Problem({"x": SOURCES["x"]}, {"v": View(np.repeat(y, N, axis=0), {"x": blur}, noise)})
    view, values = problem.views["v"], {"mixing.x": np.full(N, 1.0)}
    for turn in range(12):
        values = given_sources(view, values, {"x": x}, keys=observation_keys(jax.random.key(turn), N))
    grid = np.linspace(0.01, 3, 600)
    offsets = np.subtract.outer(np.arange(D), np.arange(D)) ** 2
    total = np.exp(-(np.arange(-64, 65) ** 2) / 2 / grid[:, None] ** 2).sum(1)
    K = np.exp(-offsets / 2 / grid[:, None, None] ** 2) / total[:, None, None]
    log = -((y - K @ x[0]) ** 2).sum(1) / 2 / noise**2 - (grid - 1) ** 2 / 2 / 0.4**2
    p = np.exp(log - log.max())
    mean = p @ grid / p.sum()
    std = np.sqrt(p @ (grid - mean) ** 2 / p.sum())
    drawn = np.abs(values["mixing.x"])
    assert abs(drawn.mean() - mean) < 4 * std / np.sqrt(N)
    assert drawn.std() == pytest.approx(std, rel=4 / np.sqrt(2 * N))


def test_shared_unknowns_given_the_sources_are_those_of_least_squares():
    problem = Problem(SOURCES, {"v": View(Y, {"x": Unknown(1.0), "z": Unknown(0.5)}, Unknown(1.0))})
    view = problem.views["v"]
    found = given_sources(view, {name: u.value for name, u in view.unknowns.items()}, TRUTH)
    X = np.stack([TRUTH["x"].ravel(), TRUTH["z"].ravel()], 1)
    gains, squares, *_ = np.linalg.lstsq(X, Y.ravel())
    assert [found["mixing.x"], found["mixing.z"]] == pytest.approx(list(gains), rel=1e-4)
    assert found["noise"] == pytest.approx(np.sqrt(squares[0] / Y.size), rel=1e-4)
    keys = jax.random.split(jax.random.key(3), N)
    drawn = [
        given_sources(view, found, TRUTH, keys=jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys))
        for i in range(60)
    ]
    P = X.T @ X / float(found["noise"]) ** 2
    spread = np.cov(np.array([[d["mixing.x"], d["mixing.z"]] for d in drawn]).T)
    assert np.trace(P @ spread) == pytest.approx(2.0, abs=1.2)
    assert np.std([d["noise"] for d in drawn]) == pytest.approx(float(found["noise"]) / np.sqrt(2 * Y.size), rel=0.4)
