"""What one step of a fit takes on this machine: a few steps of every kind, timed after they are compiled.

The stages in closed form are run in full. The pieces of a lap are run as a fit runs them, through the same functions,
batches and threads; only the numbers of steps and of observations are small. The networks are new: a trained one costs
the same.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from time import perf_counter

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.closed import components_em, gaussian_em
from dichroic.diffusion import DenoiserPrior, Prior, train
from dichroic.em import EMState, Stage, start_state
from dichroic.em.mstep import measure_errors, new_network
from dichroic.posterior import Bound, observation_keys
from dichroic.problem import Problem, View
from dichroic.run.judged import law_of
from dichroic.run.known import components_for_fit, populations_of
from dichroic.settings import FitConfig
from dichroic.white.parallel import side_by_side

__all__ = [
    "BatchTime",
    "Line",
    "Timings",
    "measure",
    "peak_memory",
    "time_closed_form",
    "time_draws",
    "time_judge",
    "time_training",
]

_MANY, _FEW = 3, 1  # sampling steps of the two measurements that a line is drawn through
_THREADS = 4  # as many batches side by side as a fit runs at most
_SAMPLES = 512
_PAIR_STEPS = 33  # of a conditional denoiser, timed
_LONG = 0.25  # seconds that a measurement is to take, where the machine is fast


@dataclass(frozen=True)
class Line:
    """Something affine in the number of sampling steps."""

    start: float
    per_step: float

    @classmethod
    def through(cls, few: float, many: float) -> "Line":
        """From the values at one and at three steps; noise may not make it fall."""
        slope = max((many - few) / (_MANY - _FEW), 0.0)
        return cls(max(few - _FEW * slope, 0.0), slope)

    def at(self, steps: int) -> float:
        """The value at a number of steps."""
        return self.start + self.per_step * steps


@dataclass(frozen=True)
class BatchTime:
    """Posterior draws of one view: `first`, seconds of a batch by itself, with all that precedes it; `more`, seconds
    that another batch adds where batches run side by side; `evaluations`, of a draw; `batch`, observations in a batch;
    `compiling`, seconds; `pairs`, seconds of the training of a conditional denoiser that precedes a pass.
    """

    first: Line
    more: Line
    evaluations: Line
    batch: int
    compiling: float
    pairs: float = 0.0

    def seconds(self, runs: Collection[tuple[float | int, int]]) -> float:
        """One draw of a view, for numbers of observations with their steps; the last batch is padded."""
        jobs = [(ceil(round(n, 6) / self.batch), steps) for n, steps in runs if n > 0]
        if not jobs:
            return 0.0
        return self.first.at(jobs[0][1]) + sum(
            (number - (i == 0)) * self.more.at(steps) for i, (number, steps) in enumerate(jobs)
        )


@dataclass
class Timings:
    """Seconds of the pieces of a fit.

    `closed_form`, by stage, of those before the laps, moments of known priors included; `train`, by stage, of an
    optimiser step of all its sources side by side; `spread`, by stage, of measuring their errors; `compiling`, of both,
    by stage; `draws`, by view and the sources whose priors are networks by then; `judge`, by held-out view, of judging
    closed forms by the law of the mixtures; `prior_draw`, by source, of a draw of a learned prior; `prior_bytes`, by
    source, of a learned prior; `gaussian_bytes`, of all Gaussian ones.
    """

    closed_form: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    compiling: dict[str, float] = field(default_factory=dict)
    draws: dict[tuple[str, frozenset[str]], BatchTime] = field(default_factory=dict)
    prior_bytes: dict[str, int] = field(default_factory=dict)
    gaussian_bytes: int = 0
    judge: dict[str, float] = field(default_factory=dict)
    prior_draw: dict[str, float] = field(default_factory=dict)


def measure(
    problem: Problem,
    held_out: Problem | None,
    config: FitConfig,
    plan: list[Stage],
    frozen: Mapping[str, Prior],
    wanted: Collection[tuple[str, frozenset[str]]],
    report: Callable[[str], None],
) -> Timings:
    """Times the pieces of a fit.

    **Arguments:** `wanted`, the views whose draws are to be timed, each with the sources whose priors are networks;
    `report(what)` is called before every piece.
    """
    found, key = Timings(), jax.random.key(config.seed)
    state = time_closed_form(problem, held_out, config, frozen, key, found, report)
    networks: dict[str, Prior] = {}
    for number, stage in enumerate(plan):
        report(f"training step of {', '.join(stage.learn)}")
        networks |= time_training(stage, state.priors, config, jax.random.fold_in(key, number), found)
    for view, learned in wanted:
        report(f"draws of {view}, by {'networks' if learned else 'closed forms'}")
        priors = {s: networks[s] if s in learned else state.priors[s] for s in problem.views[view].mixing}
        found.draws[view, learned] = time_draws(problem.views[view], priors, config, key)
    if held_out is not None and config.judged != "never":
        time_judge(held_out, state.priors, networks, key, found, report)
    found.prior_bytes = {s: _bytes(p) for s, p in {**state.priors, **networks}.items()}
    return found


def time_closed_form(
    problem: Problem,
    held_out: Problem | None,
    config: FitConfig,
    frozen: Mapping[str, Prior],
    key: PRNGKeyArray,
    found: Timings,
    report: Callable[[str], None],
) -> EMState:
    """Runs the stages that a fit begins with, in full: what they come to depends on the data."""
    if frozen:
        report("known priors")
    begin = perf_counter()
    fixed = populations_of(frozen, key)
    report("Gaussian stage")
    fit = gaussian_em(problem, config.gaussian, fixed=fixed, seed=config.seed)
    found.closed_form["Gaussian stage"] = perf_counter() - begin
    report("components stage")
    known = {s: components_for_fit(prior) for s, prior in frozen.items()}
    start = {s: known.get(s) or p for s, p in fit.populations.items()}
    found.closed_form["components stage"], components = _timed(
        lambda: components_em(
            problem, start, config.components, held_out=held_out, fixed=list(frozen), seed=config.seed
        )
    )
    arrays = (a for p in fit.populations.values() for a in (p.mean, p.basis, p.values))
    found.gaussian_bytes = sum(a.nbytes for a in arrays)
    return start_state(fit, frozen, problem, config, components.components)


def time_training(
    stage: Stage, priors: Mapping[str, Prior], config: FitConfig, key: PRNGKeyArray, found: Timings
) -> dict[str, Prior]:
    """Times the M-step of a stage, and gives the priors of its sources as networks."""
    # stand-ins for posterior draws: what they are does not change the time
    samples = {s: jax.random.normal(key, (_SAMPLES, *priors[s].shape)) for s in stage.learn}
    new = {s: new_network(priors[s], config, key) for s in stage.learn}

    def steps(number: int) -> float:
        training = config.training.model_copy(update={"steps": number})

        def run(s: str) -> None:
            jax.block_until_ready(train(new[s], priors[s].schedule, samples[s], training, key=key)[1])

        return _timed(lambda: _all(side_by_side(run, list(stage.learn))))[0]

    first, one = steps(1), steps(1)
    found.train[stage.name] = one
    if one < _LONG:  # a step is so short that what surrounds it would be counted
        many = 16 * max(1, min(16, round(_LONG / one)))
        steps(many)
        found.train[stage.name] = max(steps(many) - one, 0.0) / (many - 1)
    ladders, seconds = {}, []
    for s in stage.learn:

        def spread(s: str = s):
            return jax.block_until_ready(measure_errors(new[s], priors[s], np.asarray(samples[s]), samples[s], key))

        compiling, _ = _timed(spread)
        second, ladders[s] = _timed(spread)
        seconds.append((compiling, second))
    found.spread[stage.name] = sum(s for _, s in seconds)
    found.compiling[stage.name] = max(first - one, 0.0) + sum(max(c - s, 0.0) for c, s in seconds)
    return {
        s: DenoiserPrior(replace(d, spread=ladders[s]), priors[s].schedule, priors[s].scaling) for s, d in new.items()
    }


def time_draws(view: View, priors: Mapping[str, Prior], config: FitConfig, key: PRNGKeyArray) -> BatchTime:
    """Times the draws of one batch, and of more of them side by side, with few steps and with some more."""
    method = config.sampling.counting(_MANY, _FEW, _PAIR_STEPS)
    batch = method.batch_size({s: priors[s].shape for s in view.mixing}, len(view))
    costs: dict[int, float] = {}
    start: dict[str, np.ndarray] = {}
    pairs, bound = _bind(view, priors, config, key)

    def run(batches: int, warm: bool) -> float:
        rows = np.arange(batches * batch) % len(view)
        part, keys = bound.on(view.select(rows)), observation_keys(key, len(rows))
        given = {s: np.resize(x, (len(rows), *x.shape[1:])) for s, x in start.items()} if warm else None
        seconds, drawn = _timed(lambda: part.draw(keys, start=given))
        costs[_FEW if warm else _MANY] = float(drawn.cost.total)
        start.update(drawn.samples)
        return seconds

    def both(batches: int) -> tuple[float, float]:
        repeats = 1
        few, many = run(batches, True), run(batches, False)
        while repeats < 3 and few + many < _LONG:
            few, many, repeats = min(few, run(batches, True)), min(many, run(batches, False)), repeats + 1
        return few, many

    compiling = run(1, False)
    few, many = both(1)
    first = more = Line.through(few, many)
    if len(view) > batch:
        if not costs[_MANY]:  # exact draws of closed-form priors: one program for every number of observations
            run(1 + _THREADS, False)
        all_few, all_many = both(1 + _THREADS)
        more = Line.through((all_few - few) / _THREADS, (all_many - many) / _THREADS)
    evaluations = Line.through(costs[_FEW], costs[_MANY])
    return BatchTime(first, more, evaluations, batch, max(compiling - many, 0.0), pairs)


def time_judge(
    held_out: Problem,
    priors: Mapping[str, Prior],
    networks: Mapping[str, Prior],
    key: PRNGKeyArray,
    found: Timings,
    report: Callable[[str], None],
) -> None:
    """Times what judges priors by held-out observations, and the draws of learned priors that it asks for."""
    found.compiling["judge"] = 0.0
    for v, view in held_out.views.items():
        part = held_out.select({v: np.arange(len(view))})
        report(f"judge of {v}")
        compiling, areas = _timed(lambda part=part: law_of(part, priors, key))
        if areas:
            found.judge[v], _ = _timed(lambda part=part: law_of(part, priors, key))
            found.compiling["judge"] += max(compiling - found.judge[v], 0.0)
    for s, prior in networks.items() if found.judge else ():
        report(f"draws of the prior of {s}")
        compiling, _ = _timed(lambda prior=prior: np.asarray(prior.sample(_SAMPLES, key=key)))
        again, _ = _timed(lambda prior=prior: np.asarray(prior.sample(_SAMPLES, key=key)))
        found.prior_draw[s] = again / _SAMPLES
        found.compiling["judge"] += max(compiling - again, 0.0)


def _bind(view: View, priors: Mapping[str, Prior], config: FitConfig, key: PRNGKeyArray) -> tuple[float, Bound]:
    """The method with few steps, hardly trained, and the seconds of its training in full; none where none is used."""
    steps, _ = config.sampling.training
    # stand-ins for posterior draws: what they are does not change the time
    pool = {s: np.asarray(jax.random.normal(key, (_SAMPLES, *priors[s].shape))) for s in view.mixing}

    def run(training: int) -> tuple[float, Bound]:
        method = config.sampling.counting(_MANY, _FEW, training)
        return _timed(lambda: method.bind(view, priors, key=key, pool=pool if learned else None))

    learned = any(d.learned for prior in priors.values() if (d := prior.denoiser()) is not None)
    many, bound = run(_PAIR_STEPS)
    if not steps or bound.exact:
        return 0.0, bound
    run(1)  # compiled
    (one, _), (many, bound) = run(1), run(_PAIR_STEPS)
    per_step = max(many - one, 0.0) / (_PAIR_STEPS - 1)
    return one + per_step * (steps - 1), bound


def _timed(run: Callable):
    begin = perf_counter()
    result = run()
    return perf_counter() - begin, result


def _all(items: Iterator) -> None:
    for _ in items:
        pass


def _bytes(prior: Prior) -> int:
    return sum(a.nbytes for a in prior.content()[1].values())


def peak_memory() -> int | None:
    """Bytes this process has held at most, None where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
