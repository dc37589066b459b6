"""Methods are told apart on simulated observations, the same for all of them; where none is better the cheapest is."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dichroic.diffusion import DDIM, DenoiserPrior, MLPConfig, NetworkDenoiser, Prior, Schedule, Spread
from dichroic.posterior import OPC, Auto, MomentMatching
from dichroic.posterior.trial import BETWEEN, Trial, simulated, try_methods
from dichroic.problem import Problem, Source, View
from golden_cases import gaussian_priors, golden_view, opaque_priors

EXACT = MomentMatching(covariance="exact", steps=16)


def test_simulated_observations_are_of_the_priors_the_operators_and_the_noise():
    view, priors = golden_view(), gaussian_priors()
    many = view.select(np.repeat(np.arange(len(view)), 200))
    found = simulated(many, priors, 10**6, key=jax.random.key(0))
    assert found.y.shape == many.y.shape and list(found.truth) == list(view.mixing)
    residual = found.y - sum(found.seen(s, x) for s, x in found.truth.items())
    assert residual.std() == pytest.approx(0.3, rel=4 / np.sqrt(2 * residual.size))
    for s, x in found.truth.items():
        law = priors[s].components()
        error = 4 * np.sqrt(np.diag(law.covariances[0]) / len(x))
        assert (np.abs(x.mean(0) - law.means[0]) < error).all()


@pytest.mark.slow
def test_the_better_method_is_taken_and_the_cheaper_one_where_neither_is():
    view = golden_view()
    view = view.select(np.repeat(np.arange(len(view)), 13))
    poor = MomentMatching(covariance="exact", step=DDIM(), steps=1)  # one step: a mean in place of a draw
    dear = EXACT.model_copy(update={"steps": 24})
    trials = try_methods([poor, dear, EXACT], view, opaque_priors(), 128, key=jax.random.key(1))
    assert [t.method for t in trials] == [EXACT, poor, dear]
    again = try_methods([dear, EXACT, poor], view, opaque_priors(), 128, key=jax.random.key(1))
    np.testing.assert_array_equal(again[0].scores, trials[0].scores)
    assert trials[1].scores.mean() > trials[0].scores.mean() and trials[0].cost < trials[2].cost
    assert trials[1].between < BETWEEN / 4  # one step gives a mean in place of a draw
    assert "of the truth between two draws" in trials[0].sentence


@pytest.mark.slow
def test_draws_of_the_exact_posterior_have_the_right_spread():
    view = golden_view()
    view = view.select(np.repeat(np.arange(len(view)), 40))
    (found,) = try_methods([EXACT], view, gaussian_priors(), 400, key=jax.random.key(2))
    assert found.between == pytest.approx(BETWEEN, abs=0.05)
    assert np.isfinite(found.scores).all()


def test_auto_tries_where_priors_are_learned_and_says_what_it_found():
    d = 20
    network = NetworkDenoiser.create((d,), MLPConfig(width=8, depth=1, embedding=4), key=jax.random.key(0))
    priors: dict[str, Prior] = {"x": DenoiserPrior(network, Schedule())}
    y = np.random.default_rng(0).normal(size=(12, d)).astype(np.float32)
    view = Problem({"x": Source((d,))}, {"v": View(y, {"x": 1.0}, 0.5)}).views["v"]
    for trial, count in ((0, 0), (8, 2)):
        bound = Auto(steps=2, trial=trial).bind(view, priors, key=jax.random.key(1))
        assert len(bound.tried) == count and all("energy score" in sentence for sentence in bound.tried)
    assert bound.shared.total > 0 and Auto(trial=8).untrained().trial == 0


def test_where_covariances_are_measured_guidance_by_them_is_tried_too(monkeypatch):
    d, tried = 20, []

    def first(methods, view, priors, count, *, key):
        tried.extend(methods)
        return [Trial(methods[-1], np.zeros(count), BETWEEN, 1)]

    monkeypatch.setattr("dichroic.posterior.auto.try_methods", first)
    network = NetworkDenoiser.create((d,), MLPConfig(width=8, depth=1, embedding=4), key=jax.random.key(0))
    spread = Spread(np.eye(d), np.array([-5.0, 5.0]), np.ones((2, d)), np.zeros(2))
    priors: dict[str, Prior] = {"x": DenoiserPrior(replace(network, spread=spread), Schedule())}
    view = Problem({"x": Source((d,))}, {"v": View(np.zeros((2, d), np.float32), {"x": 1.0}, 0.5)}).views["v"]
    bound = Auto(steps=5, warm_steps=3, trial=8).bind(view, priors, key=jax.random.key(1))
    moments, krylov, guided = tried
    assert (moments.covariance, krylov.covariance) == ("auto", "krylov")
    assert guided == OPC(steps=5, warm_steps=3) and guided.title.startswith("opc, ancestral, 5 steps")
    assert "opc" in bound.tried[0] and bound.cost == OPC(steps=5).bind(view, priors, key=jax.random.key(1)).cost
