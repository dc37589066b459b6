"""What a fit will cost: its work counted, and priced with the times of its pieces on this machine.

The count follows `em.PASSES` through the laps of every stage: one of first draws, with what was known before, and then
those that train; or the rounds of the law of the mixtures, where that takes their place. At the end, held-out
observations are separated. A fit that stops early costs less.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from dichroic.diagnose.nearer import COPIES, EACH
from dichroic.em import PASSES, Stage, make_plan, split
from dichroic.em.passes import BIND
from dichroic.law import Contrast
from dichroic.memory import budget
from dichroic.plan.mixtures import MixturesTimes, time_mixtures
from dichroic.plan.timing import Timings, measure, peak_memory
from dichroic.problem import Problem
from dichroic.problem.portion import portion
from dichroic.run.judged import SIMULATIONS
from dichroic.run.known import Known, known_priors
from dichroic.run.mixtures import contrast_of
from dichroic.run.proof import LEAST
from dichroic.run.separating import expected_draws
from dichroic.settings import FitConfig

__all__ = ["Counted", "Estimate", "count_passes", "estimate_costs", "price_judge"]

_RECORD = 700  # bytes of a lap's record for one view


@dataclass(frozen=True)
class Counted:
    """`times` passes over the observations of a view: `cold` of them from pure noise, `warm` continued ones.

    `phase` is that of an `em.Pass`, or "final draws"; `learned`, the sources whose priors are networks by then. Where a
    random share is drawn anew, the numbers are means.
    """

    phase: str
    view: str
    learned: frozenset[str]
    cold: float | int
    warm: float | int
    times: int

    def runs(self, config: FitConfig) -> list[tuple[float | int, int]]:
        """Numbers of observations with their sampling steps."""
        cold, warm = config.sampling.runs
        return [(self.cold, cold), (self.warm, warm)]


@dataclass(frozen=True)
class Estimate:
    """The cost of a fit.

    `laps`, of all stages, or rounds, at most; `seconds`, by phase; `optimizer_steps`, of all sources; `evaluations`, of
    the network of each source for all draws, a Jacobian product counting as one; `memory`, bytes of main memory (None:
    not known here); `disk`, bytes of the run folder, without the report.
    """

    laps: int
    seconds: dict[str, float]
    optimizer_steps: int
    evaluations: float
    memory: int | None
    disk: int

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


def estimate_costs(
    problem: Problem,
    configs: Mapping[str, FitConfig],
    *,
    held_out: Problem | float | None = None,
    frozen: Mapping[str, Known] | None = None,
    report: Callable[[str], None] | None = None,
    found: Callable[[str, Estimate], None] | None = None,
) -> dict[str, Estimate]:
    """What fits of a problem with these settings would cost, from a few steps of each kind.

    Settings that differ in laps and in numbers of steps only share their measurements.

    **Arguments:** `configs`, settings by a name of your choice; the others as for :func:`~dichroic.run.fit`;
    `report(what)` is called before every measurement, `found(name, estimate)` as soon as the settings of a name are
    priced.
    """
    problem.require_noise("a fit")
    known = known_priors(frozen or {}, problem)
    report = report or (lambda _: None)
    measured: dict[str, Timings] = {}
    by_law: dict[str, MixturesTimes] = {}
    estimates = {}
    kinds = {name: _kind(config) for name, config in configs.items()}
    for name, config in configs.items():
        kept, held, kind = *split(problem, held_out, config), kinds[name]
        alike = ", ".join(other for other in kinds if kinds[other] == kind)

        def timing(what: str, alike: str = alike) -> None:
            report(f"{alike}: {what}")

        some = portion(kept)  # as a fit has it
        if (contrast := contrast_of(some, known, config)) is not None:
            if kind not in by_law:
                by_law[kind] = time_mixtures(contrast, some, config, timing)
            estimates[name] = _price_mixtures(contrast, held, config, by_law[kind])
        else:
            plan = make_plan(kept, config.plan, known)
            passes = count_passes(kept, held, config, plan)
            if kind not in measured:
                wanted = list(dict.fromkeys((p.view, p.learned) for p in passes))
                measured[kind] = measure(some, held, config, plan, known, wanted, timing)
            estimates[name] = _price(kept, held, config, plan, passes, measured[kind])
        if found is not None:
            found(name, estimates[name])
    return estimates


def count_passes(problem: Problem, held_out: Problem | None, config: FitConfig, plan: list[Stage]) -> list[Counted]:
    """Every pass of a fit over its observations, in order, those alike together."""
    method, found, known = config.sampling, [], frozenset[str]()
    held = held_out.views if held_out is not None else {}
    passes = [each for each in PASSES if each.draws or (each is BIND and method.training[0])]

    def count(phase: str, view: str, learned: frozenset[str], cold: float | int, warm: float | int, times: int) -> None:
        if times:
            found.append(Counted(phase, view, learned & set(problem.views[view].mixing), cold, warm, times))

    for stage in plan:
        after, laps = known | set(stage.learn), config.laps_of(stage.name)
        cold_laps = min(laps, method.cold_laps)
        for lap, times in ((0, min(laps, 1)), (1, cold_laps), (cold_laps + 1, laps - cold_laps)):
            for each in passes:
                cold, warm = each.shares(lap, method)
                for v in each.names(stage, held):
                    n = len((held if each.over == "held-out views" else problem.views)[v])
                    count(each.phase, v, after if lap else known, cold * n, warm * n, times * (each.draws or 1))
        known = after
    for v, view in held.items():
        count(BIND.phase, v, known, 0, 0, 1 if method.training[0] else 0)
        # for means, at most: closed forms beside the priors may spare most of those that are added
        count(
            "final draws",
            v,
            known,
            len(view),
            0,
            expected_draws(config.draws, config.mean_share) if known & set(view.mixing) else config.draws,
        )
    return found


def _kind(config: FitConfig) -> str:
    """Settings without those that only count."""
    counts = {"rounds": 1, "start_steps": 1, "steps": 1, "pairs": 1, "moves": 1, "alone": (1, 1)}
    plain = config.model_copy(
        update={
            "laps": 1,
            "draws": 1,
            "patience": 0,
            "mean_share": 1.0,
            "mixtures": config.mixtures.model_copy(update=counts),
            "training": config.training.model_copy(update={"steps": 1}),
            "sampling": config.sampling.counting(1, 1).model_copy(update={"refresh": 0.0, "cold_laps": 0}),
        }
    )
    return plain.model_dump_json()


def _price(
    problem: Problem,
    held_out: Problem | None,
    config: FitConfig,
    plan: list[Stage],
    passes: list[Counted],
    timings: Timings,
) -> Estimate:
    steps, laps = config.training.steps, [config.laps_of(stage.name) for stage in plan]
    seconds = {
        **timings.closed_form,
        "compiling": 0.0,
        "M-step": sum(n * (steps * timings.train[s.name] + timings.spread[s.name]) for n, s in zip(laps, plan)),  # noqa: B905
        **dict.fromkeys([each.phase for each in PASSES if each.draws] + ["final draws"], 0.0),
    }
    evaluations = 0.0
    for p in passes:
        time = timings.draws[p.view, p.learned]
        if p.phase != BIND.phase:
            seconds[p.phase] += p.times * time.seconds(p.runs(config))
            evaluations += p.times * sum(n * time.evaluations.at(k) for n, k in p.runs(config) if n > 0)
        elif time.pairs:
            seconds[p.phase] = seconds.get(p.phase, 0.0) + p.times * time.pairs
            evaluations += p.times * 2 * prod(config.sampling.training)
    # one program for every kind of prior of a view, and another one where entries are hidden; of training one
    hidden = {each.phase for each in PASSES if each.hidden}
    programs = {(p.view, p.learned, p.phase in hidden) for p in passes}
    seconds["compiling"] += sum(timings.draws[view, learned].compiling for view, learned, _ in programs)
    seconds["compiling"] += sum(timings.compiling[s.name] for s in plan) + timings.compiling.get("judge", 0.0)
    if timings.judge and held_out is not None:
        seconds["judge"] = price_judge(held_out, config, plan, timings)
    memory = peak_memory()
    return Estimate(
        laps=sum(laps),
        seconds=seconds,
        optimizer_steps=steps * sum(n * len(stage.learn) for n, stage in zip(laps, plan, strict=True)),
        evaluations=evaluations,
        memory=None if memory is None else memory + _held(problem, held_out, plan),
        disk=_disk(problem, held_out, config, plan, timings),
    )


def price_judge(held_out: Problem, config: FitConfig, plan: list[Stage], timings: Timings) -> float:
    """Of areas, with closed forms at first and then with networks, and of proofs at the end of every stage: these take
    twice as many classifiers each.
    """
    laps = sum(config.laps_of(stage.name) for stage in plan)
    areas = laps if config.judged == "laps" else min(laps, 1)

    def draws(v: str) -> float:
        return len(held_out.views[v]) * sum(timings.prior_draw.get(s, 0.0) for s in held_out.views[v].mixing)

    total = sum((1 + areas) * seconds + areas * SIMULATIONS * draws(v) for v, seconds in timings.judge.items())
    for stage in plan:
        for s in stage.learn if config.laps_of(stage.name) else ():
            shown = [v for v in timings.judge if s in held_out.views[v].mixing and len(held_out.views[v]) >= LEAST]
            total += sum(2 * timings.judge[v] + (1 + COPIES * EACH) * draws(v) for v in shown)
    return total


def _price_mixtures(contrast: Contrast, held_out: Problem | None, config: FitConfig, times: MixturesTimes) -> Estimate:
    """Of the law of the mixtures; what is drawn given the source that it learns has closed forms, and takes no time."""
    settings, n, held = config.mixtures, len(contrast), held_out.views if held_out is not None else {}
    last = len(held[contrast.view]) if contrast.view in held else 0
    seconds = {
        "Gaussian stage": times.gaussian,
        "compiling": times.compiling,
        **times.seconds(settings, n),
        "final draws": last * (times.evidence + config.draws * times.draw),
    }
    of_draw = settings.draw_steps + settings.backgrounds
    memory, entries = peak_memory(), 4 * prod(contrast.shape)
    separated = sum(len(view) * len(view.mixing) for view in held.values()) * config.draws * entries
    return Estimate(
        laps=settings.rounds,
        seconds=seconds,
        optimizer_steps=2 * settings.start_steps + settings.rounds * settings.steps,
        evaluations=float((settings.rounds * n + config.draws * last) * of_draw),
        memory=None if memory is None else memory + settings.pairs * 4 * entries,
        disk=2 * n * entries + 3 * times.weights + separated,
    )


def _draw_bytes(problem: Problem, stage: Stage) -> int:
    """Draws of one E-step in single precision, with a mark for each."""
    return sum(_draw_bytes_of(problem, v) for v in stage.views if v in problem.views)


def _draw_bytes_of(problem: Problem, view: str) -> int:
    entries = sum(prod(problem.sources[s].real_shape) for s in problem.views[view].mixing)
    return len(problem.views[view]) * (4 * entries + 1)


def _held(problem: Problem, held_out: Problem | None, plan: list[Stage]) -> int:
    """What a fit holds beyond the measurements: draws of two laps, and those pooled for training, three times; nothing
    where a budget has them in files.
    """
    most = 0
    if budget() is not None:
        return most
    for stage in plan:
        draws = sum(_draw_bytes(part, stage) for part in (problem, held_out) if part is not None)
        pooled = [
            sum(len(problem.views[v]) for v in stage.views if s in problem.views[v].mixing)
            * 4
            * prod(problem.sources[s].real_shape)
            for s in stage.learn
        ]
        most = max(most, 2 * draws + 3 * sum(pooled))
    return most


def _disk(problem: Problem, held_out: Problem | None, config: FitConfig, plan: list[Stage], timings: Timings) -> int:
    """Two checkpoints, for the old one goes when the new one is whole; priors, records and separated observations."""
    priors, laps = sum(timings.prior_bytes.values()), sum(1 + config.laps_of(stage.name) for stage in plan)
    records = laps * sum(_RECORD for _ in problem.views)
    checkpoint = 0
    for stage in plan:
        draws = sum(_draw_bytes(part, stage) for part in (problem, held_out) if part is not None)
        best = sum(timings.prior_bytes[s] for s in stage.learn)
        checkpoint = max(checkpoint, priors + best + draws + records)
    separated = 0
    if held_out is not None:
        separated = config.draws * sum(_draw_bytes_of(held_out, v) + 4 * len(held_out.views[v]) for v in held_out.views)
    return timings.gaussian_bytes + 2 * checkpoint + priors + records + separated
