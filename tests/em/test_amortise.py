"""The amortised posterior in an E-step: what is trained, what it costs, and that nothing depends on the moment."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from dichroic.algebra import Components
from dichroic.closed import gaussian_em
from dichroic.diffusion import Ancestral, Cost, DenoiserPrior, GaussianDenoiser, Schedule
from dichroic.em import (
    Expectation,
    load_state,
    make_plan,
    run_stages,
    save_state,
    start_state,
)
from dichroic.metrics.energy import energy_distance
from dichroic.posterior import Amortised, Handover, MomentMatching, Task, observation_keys
from dichroic.posterior.amortise import view_models
from dichroic.posterior.batched import Batched
from dichroic.studies.experiments.exact_components import components_view, exact_prior
from run_cases import tiny_config, tiny_problem

METHOD = Amortised(step=Ancestral(), steps=12, pair_steps=800, pair_batch=256, pair_width=64, batch=64)
SCHEDULE = Schedule(5e-3, 20.0)


def two_modes(seed: int) -> Components:
    rng = np.random.default_rng(seed)
    return Components(np.array([0.4, 0.6]), 1.2 * rng.normal(size=(2, 2)), np.tile(0.02 * np.eye(2), (2, 1, 1)))


@pytest.fixture(scope="module")
def case():
    """Two sources of two modes each behind random matrices, a trained conditional denoiser, and exact draws."""
    sources = {"a": two_modes(0), "b": two_modes(1)}
    view, posteriors = components_view(sources, 64, observed=2, noise=0.2)
    priors = {s: exact_prior(x, SCHEDULE) for s, x in sources.items()}
    rng = np.random.default_rng(0)
    draws = {s: x.sample(rng, 8192) for s, x in sources.items()}
    bound = METHOD.bind(view, priors, key=jax.random.key(0), pool=draws)
    exact = np.stack([np.concatenate(list(p.sample(rng, 16).values()), axis=1) for p in posteriors], axis=1)
    return view, priors, bound, exact


def distance(case, bound) -> float:
    """To exact draws, over draws and observations together: observations are entries of their own."""
    view, _, _, exact = case
    drawn = [bound.draw(observation_keys(jax.random.key(k), len(view))) for k in range(16)]
    found = np.stack([np.concatenate([d.samples[s] for s in view.mixing], axis=1) for d in drawn])
    return np.mean([energy_distance(found[:, i], exact[:, i]) for i in range(len(view))])


@pytest.mark.slow
def test_training_beats_the_best_linear_posterior(case):
    view, priors, bound, _ = case
    trained = lambda sampler: sampler.legs[0].build.conditional  # noqa: E731
    linear = replace(trained(bound.sampler), network=None, spread=None)
    linear = Batched(view, priors, eqx.tree_at(trained, bound.sampler, linear), Cost(), 64, {})
    # an energy distance of independent sets of exact draws is 0 on average; modes told apart by 64 operators
    assert distance(case, bound) < 0.4 * distance(case, linear)


def test_a_draw_depends_on_its_observation_alone(case):
    view, priors, bound, _ = case
    keys, some = observation_keys(jax.random.key(3), len(view)), np.array([40, 1])
    whole = bound.draw(keys)
    part = Batched(view, priors, bound.sampler, Cost(), 2, {}).draw(keys[some], some)
    for s in view.mixing:
        np.testing.assert_allclose(part.samples[s], whole.samples[s][some], rtol=1e-4, atol=1e-4)
    assert (whole.cost.forward, whole.cost.products) == (13, 0)
    # sources of which draws were given take no draws of their priors
    assert whole.shared.total == bound.shared.total == 2 * 800 * 256
    assert np.isfinite(whole.chi_square).all()


@pytest.mark.slow
def test_moment_matching_finishes_at_small_noise(case):
    view, priors, *_ = case
    part, key = view.select(np.arange(8)), jax.random.key(3)
    pool = {s: np.zeros((64, 2)) for s in view.mixing}
    first = METHOD.model_copy(update={"pair_steps": 1})
    then = MomentMatching(step=Ancestral(), steps=2)

    def drawn(method):
        return method.bind(part, priors, key=key, pool=pool).draw(observation_keys(key, 8))

    ended, finished = drawn(first), drawn(Handover(first=first, then=then, at=0.3))
    # thirteen estimates of the network, then three with the priors, each with two products
    assert (finished.cost.forward, finished.cost.products) == (13 + 3, 3 * 2)
    assert not np.allclose(finished.samples["a"], ended.samples["a"])
    # a handover below where steps end leaves nothing to finish
    assert drawn(Handover(first=first, then=then, at=1e-3)).cost == ended.cost


def test_models_of_a_view_are_those_of_its_observations(case):
    view, priors, *_ = case
    populations = {s: p.denoiser().gaussian() for s, p in priors.items()}
    models = view_models(view, {s: p.scaling for s, p in priors.items()}, populations, jax.random.key(1))
    A = np.concatenate([1.25 * np.asarray(view.mixing[s].value.matrix) for s in view.mixing], axis=2) / 0.2
    order = [int(np.argmin(np.abs(A - a).sum((1, 2)))) for a in np.asarray(models.A)]
    assert sorted(order) == list(range(64))  # in random order
    S = np.zeros((4, 4))
    S[:2, :2], S[2:, 2:] = (populations[s].covariance() for s in view.mixing)
    expected = np.linalg.inv(np.linalg.inv(S) + A[order[5]].T @ A[order[5]])
    found = (models.basis[5] * models.values[5]) @ models.basis[5].T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.all(np.diff(models.values[5]) <= 0)


def test_where_draws_are_exact_nothing_is_trained(case):
    view, priors, *_ = case
    bound = METHOD.bind(view, priors, key=jax.random.key(0))
    assert bound.exact and bound.cost.total == bound.shared.total == 0


def test_what_is_trained_is_counted(case):
    view, priors, *_ = case
    task = Task(view, priors, jax.random.key(0), pool={"a": np.zeros((1, 2))})
    assert METHOD.train_cost(task).total == 2 * 800 * 256 + 16384 * 129


def test_large_observations_are_refused():
    large = {s: DenoiserPrior(GaussianDenoiser.from_covariance(np.zeros(40), np.eye(40))) for s in ("a", "b")}
    sources = {s: Components(np.ones(1), np.zeros((1, 40)), np.eye(40)[None]) for s in large}
    view, _ = components_view(sources, 2, observed=2, noise=0.2)
    with pytest.raises(ValueError, match=r"up to 32 unknowns .* of their own; these have 80 \(a: 40, b: 40\)"):
        METHOD.train(Task(view, large, jax.random.key(0)))


@pytest.mark.slow
def test_laps_continued_from_a_checkpoint_are_those_of_an_uninterrupted_run(tmp_path):
    first = {"kind": "amortised", "step": "ancestral", "steps": 3, "warm_steps": 2}
    first |= {"pair_steps": 8, "pair_batch": 16, "pair_width": 8}
    then = {"kind": "annealed", "step": "ancestral", "steps": 1}
    sampling = {"kind": "handover", "first": first, "then": then, "cold_laps": 0, "batch": 16}
    config = tiny_config(sampling=sampling, components={"components": 1})
    problem = tiny_problem()
    fit = gaussian_em(problem, config.gaussian, seed=0)
    told = []
    context = Expectation(problem, None, config, make_plan(problem, "joint"), lambda what, *_: told.append(what))
    states = []
    for number, state in enumerate(run_stages(start_state(fit, {}, problem, config), context)):
        states.append(state)
        save_state(state, tmp_path / str(number))
    assert len(states) == 4  # first draws, two laps, the end
    assert {"pairs empty", "pairs both"} <= set(told)
    again = next(iter(run_stages(load_state(tmp_path / "1"), replace(context, report=lambda *_: None))))
    for view, draws in states[2].draws.items():
        for s, x in draws.items():
            np.testing.assert_array_equal(again.draws[view][s], x)
    costs = [r["views"]["both"]["evaluations"] for r in states[-1].records]
    assert costs[0] == 0  # exact
    assert costs[2] == 3 + 2 * (1 + 2) + 2 * 8 * 16 / 64
