"""The score that decides which lap is best: it must prefer the true prior, and be the same whenever asked."""

import jax
import numpy as np
import pytest

from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Prior, Schedule
from dichroic.em.score import prediction_scores
from dichroic.posterior import Auto
from dichroic.problem import Problem, Source, View

METHOD = Auto(steps=4, batch=256)


def _problem(n: int, d: int) -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(0)
    covariance = 0.9 * np.ones((d, d)) + 0.1 * np.eye(d)
    x = rng.multivariate_normal(np.zeros(d), covariance, n)
    y = x + 0.1 * rng.normal(size=x.shape)
    return Problem({"x": Source((d,))}, {"v": View(y, {"x": 1.0}, 0.1)}), covariance


def _prior(covariance: np.ndarray) -> dict[str, Prior]:
    denoiser = GaussianDenoiser.from_covariance(np.zeros(len(covariance)), covariance)
    return {"x": DenoiserPrior(denoiser, Schedule(1e-2, 1e2))}


def _score(problem: Problem, covariance: np.ndarray) -> np.ndarray:
    return prediction_scores(problem.views["v"], _prior(covariance), METHOD, key=jax.random.key(0))


@pytest.mark.parametrize("wrong", ["too wide", "too narrow", "uncorrelated"])
def test_the_true_prior_predicts_best(wrong):
    problem, covariance = _problem(4096, 4)
    other = {
        "too wide": 9 * covariance,
        "too narrow": covariance / 9,
        "uncorrelated": np.diag(np.diag(covariance)),
    }[wrong]
    difference = _score(problem, other) - _score(problem, covariance)
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(difference))


def test_a_single_value_is_predicted_by_the_prior():
    problem, covariance = _problem(512, 1)
    difference = _score(problem, 25 * covariance) - _score(problem, covariance)
    assert np.isfinite(difference).all() and difference.mean() > 0


def test_the_same_twice():
    problem, covariance = _problem(64, 3)
    np.testing.assert_array_equal(_score(problem, covariance), _score(problem, covariance))
