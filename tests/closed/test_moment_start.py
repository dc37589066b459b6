"""The start of Gaussian EM: exact where moments are, and never less likely than the start from nothing."""

import numpy as np
import pytest

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianConfig, gaussian_em
from dichroic.closed.factors import Factors
from dichroic.closed.groups import Groups
from dichroic.closed.moment_start import Moments, moment_start
from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View
from oracles import random_covariance


def populations(rng, sizes) -> dict[str, Gaussian]:
    return {s: Gaussian.of(rng.normal(size=d), random_covariance(rng, d)) for s, d in sizes.items()}


def exact_group(A, n, truth, hidden=()):
    """A group whose sample moments are those of the population, some values being unobserved."""
    m = len(next(iter(A.values())))
    seen = np.isin(np.arange(m), hidden, invert=True)
    A = {s: matrix * seen[:, None] for s, matrix in A.items()}
    mean = sum(A[s] @ truth[s].mean for s in A)
    C = np.diag(seen.astype(float)) + sum(A[s] @ truth[s].covariance() @ A[s].T for s in A)
    return Moments.of_group(A, n, n * mean, n * (C + np.outer(mean, mean)))


@pytest.mark.parametrize("known", [(), ("a",)])
def test_exact_moments_give_the_truth(monkeypatch, known):
    monkeypatch.setattr("dichroic.closed.moment_start.ACCURACY", 1e-12)
    monkeypatch.setattr("dichroic.closed.moment_start.ITERATIONS", 500)
    rng = np.random.default_rng(0)
    sizes = {"a": 3, "b": 2}
    truth = populations(rng, sizes)
    groups = [
        exact_group({"a": 5 * rng.normal(size=(4, 3))}, 30, truth, hidden=[1]),
        exact_group({"b": 3 * rng.normal(size=(6, 2)), "a": rng.normal(size=(6, 3))}, 50, truth),
        exact_group({"a": rng.normal(size=(5, 3)), "b": rng.normal(size=(5, 2))}, 20, truth, hidden=[0, 4]),
    ]
    found = moment_start(groups, sizes, {s: truth[s] for s in known})
    assert set(found) == set(sizes) - set(known)
    for s, x in found.items():
        np.testing.assert_allclose(x.mean, truth[s].mean, atol=1e-6)
        np.testing.assert_allclose(x.covariance(), truth[s].covariance(), atol=1e-5)


def test_observations_with_noise_of_their_own_have_the_moments_of_groups(rng):
    std = rng.uniform(0.5, 2.0, size=(40, 4))
    y = rng.normal(size=(40, 4)) + std * rng.normal(size=(40, 4))
    y[rng.random(y.shape) < 0.2] = np.nan
    y[:, 0] = np.where(np.isnan(y).all(1), 0.0, y[:, 0])
    mixing = {"a": Dense(rng.normal(size=(4, 3))), "b": Dense(rng.normal(size=(4, 2)))}
    view = View(y, mixing, PerSample(std))
    shapes = {"a": (3,), "b": (2,)}
    problem = Problem({s: Source(shape) for s, shape in shapes.items()}, {"v": view})
    known = populations(rng, {"b": 2})
    found = []
    for route in (Factors, Groups):
        found.append(moment_start(route(problem.views["v"], shapes).moments(), {"a": 3, "b": 2}, known)["a"])
    np.testing.assert_allclose(found[0].mean, found[1].mean, rtol=1e-5)
    np.testing.assert_allclose(found[0].covariance(), found[1].covariance(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("std", [0.1, "own"])
def test_an_observation_of_exact_zeros_is_one_like_others(std, rng):
    y = rng.normal(size=(40, 6))
    gain = rng.uniform(0.5, 2.0, size=40)
    y[17] = 0.0
    noise = PerSample(rng.uniform(0.05, 0.2, size=y.shape)) if std == "own" else std
    mixing = 1.0 if std == "own" else PerSample(gain)
    problem = Problem({"a": Source((6,))}, {"v": View(y, {"a": mixing}, noise)})
    route = Factors if std == "own" else Groups
    moments = route(problem.views["v"], {"a": (6,)}).moments()
    found = moment_start(moments, {"a": 6}, {})["a"]
    without = problem.select({"v": np.delete(np.arange(40), 17)})
    expected = moment_start(route(without.views["v"], {"a": (6,)}).moments(), {"a": 6}, {})["a"]
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance(), expected.covariance(), rtol=1e-9, atol=1e-12)
    assert gaussian_em(problem, GaussianConfig(laps=2)).populations["a"].total_variance > 0


def test_a_weak_source_needs_few_laps():
    rng = np.random.default_rng(1)
    d, n = 20, 3000
    strong, weak = random_covariance(rng, d), 0.05 * random_covariance(rng, d)
    draw = lambda S: rng.multivariate_normal(np.zeros(d), S, size=n)  # noqa: E731
    noise = lambda: 0.05 * rng.normal(size=(n, d))  # noqa: E731
    views = {
        "alone": View(draw(strong) + noise(), {"a": Dense(np.eye(d))}, 0.05),
        "both": View(draw(strong) + draw(weak) + noise(), {"a": Dense(np.eye(d)), "b": Dense(np.eye(d))}, 0.05),
    }
    problem = Problem({"a": Source((d,)), "b": Source((d,))}, views)
    short, long = (gaussian_em(problem, GaussianConfig(laps=laps, tolerance=1e-12, ties=0)) for laps in (6, 60))
    assert np.diff(long.log_likelihood).min() > -1e-9
    # by far most of what sixty laps gain is there from the beginning
    assert long.log_likelihood[-1] - short.log_likelihood[-1] < 1e-3
    sample_error = np.sqrt(2 / n) * (strong.diagonal().mean() + weak.diagonal().mean())
    assert np.abs(short.populations["b"].covariance() - weak).mean() < 2 * sample_error
