"""Accelerated EM: the laps it saves, the objective it never lowers, and what it says is left."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from dichroic.algebra import Components
from dichroic.closed import GaussianConfig, accelerate, gaussian_em
from dichroic.closed.accelerate import Ascent, Lap, still_to_gain
from dichroic.closed.charts import CholeskyChart
from dichroic.closed.stationary import family_of
from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View
from oracles import random_covariance


def crawling(n: int = 200, seed: int = 0) -> Problem:
    """Two sources, one of them seen through operators of every observation's own and one of them through gaps."""
    rng, std, shapes = np.random.default_rng(seed), 0.1, {"a": 8, "b": 5}
    S = {
        s: (Q * np.exp(-0.5 * np.arange(d))) @ Q.T
        for s, d in shapes.items()
        for Q in [special_ortho_group.rvs(d, random_state=rng)]
    }
    B = {s: rng.normal(size=(n, 4, d)) for s, d in shapes.items()}
    x = {s: rng.multivariate_normal(np.ones(d), S[s], size=(2, n)) for s, d in shapes.items()}
    own = np.sum([np.einsum("nij,nj->ni", B[s], x[s][0]) for s in shapes], axis=0) + std * rng.normal(size=(n, 4))
    masked = np.where(rng.random((n, 8)) < 0.4, x["a"][1] + std * rng.normal(size=(n, 8)), np.nan)
    masked[:, 0] = np.where(np.isnan(masked).all(1), x["a"][1][:, 0], masked[:, 0])
    views = {
        "own": View(own, {s: PerSample(Dense(B[s])) for s in shapes}, std),
        "masked": View(masked, {"a": 1.0}, std),
    }
    return Problem({s: Source((d,)) for s, d in shapes.items()}, views)


def fit(problem, monkeypatch, plain=False, **settings):
    monkeypatch.setattr(accelerate, "MEMORY", 1 if plain else 10)
    return gaussian_em(problem, GaussianConfig(**settings))


@pytest.mark.parametrize("ties, laps", [pytest.param(0.0, 600, marks=pytest.mark.slow), (0.03, 400)])
def test_a_tenth_of_the_laps(ties, laps, monkeypatch):
    problem, settings = crawling(), {"tolerance": 1e-300, "ties": ties}
    plain = fit(problem, monkeypatch, plain=True, laps=laps, **settings)
    fast = fit(problem, monkeypatch, laps=laps // 10, **settings)
    assert fast.log_likelihood[-1] > plain.log_likelihood[-1] - 1e-6
    assert plain.log_likelihood[laps // 10] < plain.log_likelihood[-1] - 1e-4  # and it was not there already
    if not ties:
        assert np.diff(fast.log_likelihood).min() > -1e-9


@pytest.mark.slow
def test_what_is_said_to_be_left_is_left(monkeypatch):
    problem = crawling()
    end = fit(problem, monkeypatch, laps=200, tolerance=1e-300)
    found = fit(problem, monkeypatch, laps=200, tolerance=1e-5)
    assert found.converged and found.remaining < 1e-5
    assert end.log_likelihood[-1] - found.log_likelihood[-1] < 5e-5
    short = fit(problem, monkeypatch, plain=True, laps=30)
    assert not short.converged
    missing = end.log_likelihood[-1] - short.log_likelihood[-1]
    assert missing / 10 < short.remaining < 10 * missing
    off = [
        np.abs(np.diag(short.populations[s].covariance()) / np.diag(end.populations[s].covariance()) - 1).max()
        for s in problem.sources
    ]
    assert max(off) / 10 < short.change < 10 * max(off)
    assert "still to gain" in short.shortfall
    assert "too few" in fit(problem, monkeypatch, laps=2).shortfall


def test_what_does_not_climb_is_not_kept(rng):
    x = {"a": Components(np.ones(1), rng.normal(size=(1, 3)), random_covariance(rng, 3)[None])}
    # a map whose secant steps overshoot: the value falls wherever it is not asked for a plain lap
    ascent, plain = Ascent(x, {"a": family_of(Source((3,)))}), []
    for lap in range(8):
        moved = {"a": Components(np.ones(1), ascent.ask["a"].means + 0.9**lap, ascent.ask["a"].covariances)}
        plain.append(ascent.plain)
        before = ascent.value
        kept = ascent.tell(Lap(float(lap) if ascent.plain else -1.0, moved, lambda point: 0.0))
        assert kept == plain[-1]
        assert ascent.value >= before
    assert not all(plain)


def test_components_step_in_coordinates_that_they_come_back_from(rng):
    x = {
        s: Components(rng.dirichlet(np.ones(K)), rng.normal(size=(K, d)), np.stack([random_covariance(rng, d)] * K))
        for s, K, d in (("a", 3, 4), ("b", 1, 2))
    }
    y = {s: Components(c.weights[::-1], 2 * c.means, 3 * c.covariances) for s, c in x.items()}
    for s in x:
        chart = CholeskyChart(x[s])
        back = {s: chart.point(chart.vector(y[s]))}
        for name in ("weights", "means", "covariances"):
            np.testing.assert_allclose(getattr(back[s], name), getattr(y[s], name), rtol=1e-10)


def test_gains_that_fall_in_proportion_are_summed():
    gains = [0.8**k for k in range(10)]
    assert still_to_gain(gains) == pytest.approx(0.8**10 / (1 - 0.8))
    assert still_to_gain([1.0] * 10) == np.inf and still_to_gain(gains[:3]) == np.inf
    assert still_to_gain([0.0] * 10) == 0.0
