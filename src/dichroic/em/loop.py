"""Laps of EM: train every source's denoiser on the draws, then draw again with the new denoisers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from dichroic.algebra import Components
from dichroic.closed.gaussian import GaussianFit
from dichroic.diffusion import DenoiserPrior, Prior
from dichroic.em.passes import CLOCKS, PASSES, Pass
from dichroic.em.plan import Stage
from dichroic.em.score import exhausted, judge
from dichroic.em.state import EMState, Expectation, Lap
from dichroic.hosts import told
from dichroic.problem import Problem
from dichroic.settings import FitConfig
from dichroic.white.parallel import side_by_side

__all__ = ["run_stages", "start_state"]


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
        if not state.draws and context.config.laps_of(stage.name):
            state = _lap(state, stage, context)
            yield state
        while state.lap < context.config.laps_of(stage.name) and not exhausted(state, context.config):
            state = _lap(state, stage, context)
            yield state
        state = _next_stage(state, stage, context)
        yield state


def _next_stage(state: EMState, stage: Stage, context: Expectation) -> EMState:
    """Goes on with what laps have learned of the sources that are proven to be better for it than before the stage;
    where nothing can be proven, with the priors of the best prediction.
    """
    priors, records = state.predicting, state.records
    tried = state.best.get("tried", state.best.get("lap"))
    if context.prove is not None and state.first_priors and tried:
        before, after = ({**state.priors, **some} for some in (state.first_priors, state.best_priors))
        found, proof = context.prove(before, after, stage.learn)
        priors = {**priors, **{s: found[s] for s in proof}}
        last = {**records[-1], "proof": proof, "tried": tried, "predicted": state.best["lap"]}
        if proof:
            last["best_lap"] = tried if any(judged["used"] for judged in proof.values()) else 0
        records = [*records[:-1], last]
    return EMState(state.stage + 1, 0, priors, {}, {}, records=records)


def _lap(state: EMState, stage: Stage, context: Expectation) -> EMState:
    """One lap; while there are no draws, that of the first ones."""
    lap = Lap(state, stage, context, state.lap + 1 if state.draws else 0, dict(state.priors))
    seconds = dict.fromkeys(CLOCKS, 0.0)
    for each in PASSES:
        begin = perf_counter()
        if lap.number or each.first:
            _run(each, lap)
        seconds[each.clock] += perf_counter() - begin
    record: dict[str, Any] = {
        "stage": stage.name,
        "lap": lap.number,
        "views": lap.views,
        "loss": {s: lap.loss[s] for s in stage.learn if s in lap.loss},
        "seconds": seconds,
    }
    best = state.best
    if lap.scores:
        best = told(judge(best, np.concatenate(list(lap.scores.values())), lap.number))
        record |= {"score": best["last"], "score_error": best["error"]}
        record |= {key: best[key] for key in ("gain", "gain_error") if key in best}
    record["best_lap"] = best.get("lap", lap.number)
    learned = {s: lap.priors[s] for s in stage.learn}
    return replace(
        state,
        lap=lap.number,
        priors=lap.priors,
        draws=lap.draws,
        held_out_draws=lap.held_out_draws,
        best=best,
        best_priors=learned if best.get("tried", lap.number) == lap.number else state.best_priors,
        first_priors=state.first_priors if lap.number else learned,
        records=[*state.records, record],
    )


def _run(each: Pass, lap: Lap) -> None:
    """A pass over its sources side by side, or over its views one after the other: their batches are side by side."""

    def run(name: str) -> None:
        each.run(lap, name, lambda done, total: lap.context.report(f"{each.name} {name}", done, total))

    names = each.names(lap.stage, lap.context.held_out.views if lap.context.held_out else ())
    for _ in side_by_side(run, names) if each.over == "sources" else map(run, names):
        pass
