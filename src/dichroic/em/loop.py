"""Laps of EM: train every source's denoiser on the draws, then draw again with the new denoisers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.algebra import Components
from dichroic.closed.gaussian import GaussianFit
from dichroic.closed.statistics import Statistics
from dichroic.diffusion import (
    Denoiser,
    DenoiserPrior,
    NetworkDenoiser,
    Prior,
    Spread,
    measure_spread,
    train,
)
from dichroic.em.config import FitConfig
from dichroic.em.plan import Stage
from dichroic.em.prediction import prediction_scores
from dichroic.em.state import EMState
from dichroic.metrics.psnr import psnr
from dichroic.posterior import Bound, Draws, observation_keys
from dichroic.problem import Problem, View
from dichroic.white.parallel import side_by_side

__all__ = ["Diverged", "Expectation", "Report", "network_base", "run_stages", "start_state"]

_SPREAD_RANK, _SPREAD_DRAWS, _SPREAD_SAMPLES, _SPREAD_LEAST = 256, 4096, 512, 64
_HOPELESS, _DECIDED = 3, 5.0  # so many laps in a row worse by so many standard errors end a stage
_COMPONENTS_BASE = 256  # numbers in a source up to which its network corrects a mixture, beyond it a Gaussian

# report(what, done, total): within a phase of a lap
Report = Callable[[str, int, int], None]


class Diverged(RuntimeError):
    """Most posterior draws left the range of their sources."""


@dataclass(frozen=True)
class Expectation:
    """Everything a lap needs besides its state: the data, the plan and the settings."""

    problem: Problem
    held_out: Problem | None
    config: FitConfig
    plan: list[Stage]
    report: Report

    def key(self, *path: int) -> PRNGKeyArray:
        """A key that depends on the seed and a path of numbers, and on nothing else."""
        key = jax.random.key(self.config.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        return key


def start_state(
    fit: GaussianFit,
    frozen: Mapping[str, Prior],
    problem: Problem,
    config: FitConfig,
    components: Mapping[str, Components] | None = None,
) -> EMState:
    """The state before the first lap: Gaussian priors, or those of the components stage, and no draws yet."""
    priors = {
        s: frozen[s] if s in frozen else fit.prior(s, source.real_shape, config.schedule)
        for s, source in problem.sources.items()
    }
    for s, found in (components or {}).items():
        if s not in frozen and len(found) > 1:
            prior, provenance = priors[s], {"stage": "components", "components": len(found)}
            priors[s] = DenoiserPrior.of(found, prior.shape, prior.schedule, prior.scaling, provenance)
    return EMState(stage=0, lap=0, priors=priors, draws={}, held_out_draws={})


def run_stages(state: EMState, context: Expectation) -> Iterator[EMState]:
    """Runs the plan from a state on, and yields the state after the first draws of every stage and after every lap.

    Whoever iterates may save what is yielded: continuing from it gives what an uninterrupted run gives.
    """
    while state.stage < len(context.plan):
        stage = context.plan[state.stage]
        if not state.draws:
            state = _expectation(state, stage, context, first=True)
            yield state
        while state.lap < context.config.laps_of(stage.name) and not _exhausted(state, context.config):
            state = _lap(state, stage, context)
            yield state
        state = _next_stage(state, stage)
        yield state


def _exhausted(state: EMState, config: FitConfig) -> bool:
    if not config.patience or not state.best:
        return False
    return state.lap - state.best["lap"] >= config.patience or state.best.get("worse", 0) >= _HOPELESS


def _next_stage(state: EMState, stage: Stage) -> EMState:
    """Goes on with the best priors of a stage."""
    return EMState(state.stage + 1, 0, {**state.priors, **state.best_priors}, {}, {}, records=state.records)


def _lap(state: EMState, stage: Stage, context: Expectation) -> EMState:
    begin = perf_counter()
    priors, losses = dict(state.priors), {}
    learned = side_by_side(lambda item: _maximisation(state, stage, *item, context), list(enumerate(stage.learn)))
    for (_, source), result in learned:
        priors[source], losses[source] = result
    middle = perf_counter()
    state = replace(state, lap=state.lap + 1, priors=priors)
    return _expectation(
        state,
        stage,
        context,
        first=False,
        loss={s: losses[s] for s in stage.learn},
        m_seconds=middle - begin,
        e_begin=middle,
    )


def _maximisation(state: EMState, stage: Stage, number: int, source: str, context: Expectation) -> tuple[Prior, float]:
    """Trains the denoiser of one source on its pooled draws."""
    config, prior = context.config, state.priors[source]
    pooled = np.concatenate([state.draws[v][source] for v in stage.views if source in state.draws[v]])
    usable = np.concatenate([state.draws[v]["usable"] for v in stage.views if source in state.draws[v]])
    denoiser = prior.denoiser()
    if not isinstance(denoiser, NetworkDenoiser):
        denoiser = NetworkDenoiser.create(
            prior.shape,
            config.network_for(prior.shape),
            key=context.key(1, state.stage, number),
            base=network_base(denoiser) if config.residual else None,
            precision=config.precision,
        )
    trained, loss = train(
        replace(denoiser, spread=None),  # the errors measured before do not matter, and all laps share one program
        prior.schedule,
        jnp.asarray(prior.scaling.to_scaled(pooled), jnp.float32),
        config.training,
        key=context.key(2, state.stage, state.lap, number),
        usable=jnp.asarray(np.argsort(~usable, kind="stable")),
        count=int(usable.sum()),
        report=lambda done, total: context.report(f"train {source}", done, total),
    )
    trained = eqx.tree_at(
        lambda d: d.spread,
        trained,
        _spread(
            trained, prior, source, pooled[usable], state.held_out_draws, context.key(6, state.stage, state.lap, number)
        ),
        is_leaf=lambda x: x is None,
    )
    provenance = {"stage": stage.name, "lap": state.lap + 1}
    return DenoiserPrior(trained, prior.schedule, prior.scaling, provenance), float(loss[-len(loss) // 4 :].mean())


def network_base(denoiser: Denoiser | None) -> Denoiser | None:
    """What a network is to be the correction of: the closed-form prior, if it costs less than the network does."""
    if denoiser is None or prod(denoiser.shape) <= _COMPONENTS_BASE:
        return denoiser
    return denoiser.gaussian() or denoiser


def _spread(
    denoiser: NetworkDenoiser,
    prior: Prior,
    source: str,
    draws: np.ndarray,
    held_out: Mapping[str, Mapping[str, np.ndarray]],
    key: PRNGKeyArray,
) -> Spread:
    """Measures the new denoiser's errors, on held-out draws where there are any: others it may know by heart."""
    # what was measured before does not matter, and without it all laps share one program
    denoiser = eqx.tree_at(lambda d: d.spread, denoiser, None, is_leaf=lambda x: x is None)
    flat = prior.scaling.to_scaled(draws[:_SPREAD_DRAWS].reshape(len(draws[:_SPREAD_DRAWS]), -1).astype(float))
    basis = Statistics(len(flat), flat.sum(0), draws=flat).population(_SPREAD_RANK).basis
    found = [x[source][x["usable"]] for x in held_out.values() if source in x]
    judged = np.concatenate(found) if sum(map(len, found)) >= _SPREAD_LEAST else draws
    judged = np.resize(judged, (_SPREAD_SAMPLES, *prior.shape))  # one shape, one program, whatever lap
    scaled = jnp.asarray(prior.scaling.to_scaled(judged), jnp.float32)
    return measure_spread(denoiser, prior.schedule, scaled, jnp.asarray(basis, jnp.float32), key=key)


def _expectation(
    state: EMState,
    stage: Stage,
    context: Expectation,
    *,
    first: bool,
    loss: Mapping[str, float] | None = None,
    m_seconds: float = 0.0,
    e_begin: float | None = None,
) -> EMState:
    begin = e_begin or perf_counter()
    draws, held_out_draws = {}, {}
    views: dict[str, Any] = {}
    names = list(context.problem.views)
    bounds: dict[str, Bound] = {}
    for v in stage.views:
        view = context.problem.views[v]
        key = context.key(3, state.stage, state.lap, names.index(v))
        bounds[v] = _bind(state, stage, v, key, context)
        draws[v], drawn = _draw_view(state, v, view, bounds[v], state.draws, key, "draw", first, context)
        views[v] = drawn.summary
        if drawn.diverged.mean() > 0.5:
            raise Diverged(
                f"view '{v}': {drawn.diverged.mean():.0%} of the posterior draws of lap {state.lap} left the range of "
                "their sources; the noise may be understated, or the training rate too high"
            )
    seconds = perf_counter() - begin
    scores: list[np.ndarray] = []
    held_out = context.held_out.views if context.held_out is not None else {}
    for v in stage.views:
        if v not in held_out:
            continue
        view = held_out[v]
        key = context.key(4, state.stage, state.lap, names.index(v))
        held_out_draws[v], drawn = _draw_view(
            state, v, view, bounds[v].on(view), state.held_out_draws, key, "held-out", first, context
        )
        views[v]["held_out"] = drawn.summary | _truth_scores(view, drawn)
        # the same hidden entries and random numbers at every lap: what differs between laps is the priors
        found = prediction_scores(view, state.priors, context.config.sampling, key=context.key(5, names.index(v)))
        views[v]["held_out"]["prediction"] = float(found.mean())
        scores.append(found)
    record: dict[str, Any] = {
        "stage": stage.name,
        "lap": state.lap,
        "views": views,
        "loss": dict(loss or {}),
        "seconds": {"m_step": m_seconds, "e_step": seconds, "held_out": perf_counter() - begin - seconds},
    }
    best = state.best
    if scores:
        best = _judge(best, np.concatenate(scores), state.lap)
        record |= {"score": best["last"], "score_error": best["error"]}
        record |= {key: best[key] for key in ("gain", "gain_error") if key in best}
    record["best_lap"] = best.get("lap", state.lap)
    learned = {s: state.priors[s] for s in stage.learn}
    return replace(
        state,
        draws=draws,
        held_out_draws=held_out_draws,
        best=best,
        best_priors=learned if record["best_lap"] == state.lap else state.best_priors,
        records=[*state.records, record],
    )


def _bind(state: EMState, stage: Stage, view: str, key: PRNGKeyArray, context: Expectation) -> Bound:
    """The method of the fit, bound to a view in this lap.

    What is trained is trained on the draws that the priors of this lap were trained on, and so stands for the same
    populations; before there are any, on draws of the closed-form priors.
    """
    mixed, method = context.problem.views[view], context.config.sampling
    trained = state.draws and method.training[0]
    pool = {s: _usable(state, stage, s) for s in mixed.mixing if s in stage.learn} if trained else None
    return method.bind(
        mixed,
        state.priors,
        key=jax.random.fold_in(key, 0),
        pool=pool,
        report=lambda done, total: context.report(f"pairs {view}", done, total),
    )


def _usable(state: EMState, stage: Stage, source: str) -> np.ndarray:
    """The usable draws of a source, repeated to the number of all: one shape, one program, whatever lap."""
    found = [state.draws[v] for v in stage.views if source in state.draws[v]]
    pooled = np.concatenate([x[source] for x in found])
    return np.resize(pooled[np.concatenate([x["usable"] for x in found])], pooled.shape)


def _judge(best: Mapping[str, Any], scores: np.ndarray, lap: int) -> dict[str, Any]:
    """Updates what is known about the best lap of a stage, from the scores of the held-out observations.

    The best lap is the one of the lowest mean: a later one takes its place only by being better. The gain over the
    draws that the stage began with is judged observation by observation, and so are the errors.
    """
    mean = float(scores.mean())
    if not best or not np.isfinite(best["lowest"]).all():
        kept = scores.tolist()
        start = {"first": kept, "gain": 0.0, "gain_error": 0.0}
        return {"lap": lap, "lowest": kept, "last": mean, "error": 0.0, "worse": 0, **start}
    if not np.isfinite(mean):  # such a lap is not the best one, whatever else it is
        return {**best, "last": mean}
    difference, error = _difference(scores, best["lowest"])
    gain, gain_error = _difference(best.get("first", best["lowest"]), scores)
    return {
        **best,
        "lap": lap if difference < 0 else best["lap"],
        "lowest": scores.tolist() if difference < 0 else best["lowest"],
        "last": mean,
        "error": error,
        "worse": best.get("worse", 0) + 1 if difference > _DECIDED * error else 0,
        "gain": gain,
        "gain_error": gain_error,
    }


def _difference(a: Any, b: Any) -> tuple[float, float]:
    """The mean difference of two sets of scores of the same observations, and its standard error."""
    difference = np.asarray(a) - np.asarray(b)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def _draw_view(
    state: EMState,
    name: str,
    view: View,
    bound: Bound,
    previous: Mapping[str, Mapping[str, np.ndarray]],
    key: PRNGKeyArray,
    label: str,
    first: bool,
    context: Expectation,
) -> tuple[dict[str, np.ndarray], Draws]:
    """One E-step of one view: warm starts for most, and the previous draw kept where the new one diverged."""
    method = context.config.sampling
    start = warm = None
    if not first and state.lap > method.cold_laps and name in previous:
        start = {s: previous[name][s] for s in view.mixing}
        keys = observation_keys(jax.random.fold_in(key, 1), len(view))
        warm = np.asarray(jax.vmap(jax.random.uniform)(keys)) >= method.refresh
    drawn = bound.draw(
        observation_keys(jax.random.fold_in(key, 0), len(view)),
        start=start,
        warm=warm,
        report=lambda done, total: context.report(f"{label} {name}", done, total),
    )
    samples: dict[str, np.ndarray] = dict(drawn.samples)
    if drawn.diverged.any():
        for s in drawn.samples:
            kept = previous[name][s] if name in previous else np.zeros_like(samples[s])
            where = drawn.diverged.reshape(-1, *[1] * (samples[s].ndim - 1))
            samples[s] = np.where(where, kept, samples[s])
    samples["usable"] = ~drawn.diverged
    return samples, drawn


def _truth_scores(view: View, drawn: Draws) -> dict[str, Any]:
    """PSNR of the draws against the truth, where it is known. Never used by the fit."""
    if not view.truth:
        return {}
    known = {s: x for s, x in view.truth.items() if s in drawn.samples}
    return {"psnr": {s: psnr(drawn.samples[s], x, peak=float(np.ptp(x)) or 1.0) for s, x in known.items()}}
