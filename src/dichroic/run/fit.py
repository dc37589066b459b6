"""The main job: from a problem to learned priors, in a run folder that survives anything."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import jax

from dichroic.closed import ComponentsFit, GaussianFit, components_em, gaussian_em
from dichroic.diffusion import Prior
from dichroic.em import PASSES, EMState, Expectation, make_plan, run_stages, split, start_state
from dichroic.faults import among
from dichroic.hosts import is_first, several, told, wait
from dichroic.problem import Problem, load_problem
from dichroic.problem.portion import portion
from dichroic.run.description import continued, describe_run
from dichroic.run.folder import RunError, RunFolder
from dichroic.run.free_folder import free_folder
from dichroic.run.gate import pass_design
from dichroic.run.heartbeat import Heartbeat
from dichroic.run.instrument import instrument_of
from dichroic.run.judged import law_of, used
from dichroic.run.known import Known, components_for_fit, known_priors, populations_of
from dichroic.run.mixtures import contrast_of, drawn_from, learn_mixtures, shortened
from dichroic.run.next_step import go_on, no_run
from dichroic.run.pace import Pace, under_way
from dichroic.run.progress import Progress, Quiet, Watchdog, summary_line
from dichroic.run.proof import proofs, proven
from dichroic.run.provenance import provenance
from dichroic.run.refits import refit
from dichroic.run.rounds_pace import RoundsPace
from dichroic.run.run import Run
from dichroic.run.separating import expected_draws
from dichroic.run.signals import stop_signals
from dichroic.settings import FitConfig
from dichroic.store import claim
from dichroic.track import TRACKERS, open_trackers

__all__ = ["Stopped", "fit", "resume"]

# the stages in closed form take this share of the bar, half of it where nothing is learned after them, and any share of
# the time: they end when held-out observations gain no more, and nobody knows when
_CLOSED, _ALONE = 0.05, 0.5


class Stopped(Exception):
    """The run was asked to stop by a signal; it can be resumed."""


def fit(
    problem: Problem,
    config: FitConfig | None = None,
    *,
    out: str | Path | None = None,
    held_out: Problem | float | None = None,
    frozen: Mapping[str, Known] | None = None,
    start: Mapping[str, Known] | None = None,
    progress: Progress | None = None,
    source_file: str | Path | None = None,
    track: Iterable[str] = (),
) -> Run:
    """Learns a prior for every source of a problem, from its mixtures alone.

    The Gaussian stage, exact and in seconds, is followed by laps of posterior draws and training. Everything is kept in
    the run folder `out`; where a run was started there already, it is continued, and gives what it would have given
    without the interruption.

    **Arguments:** `out`, the run folder (default: a new one under `runs/`); `held_out`, observations for the stopping
    rule and the scores, as a problem with the same sources and views or as a share of every view (default: the one in
    the settings); `frozen`, priors (or their files, or tables that describe them) that are known and take part without
    being learned; `start`, the same of priors that learning begins at; `progress`, told what happens; `source_file`,
    where the problem was read from, so that `resume` can read it again; `track`, names of `TRACKERS` that take the
    numbers of every lap.

    **Returns:** the finished `Run`.

    **Raises:** `RunError` when `out` holds a run of another problem or other settings; `Unidentified` when the design
    leaves something undetermined and the settings do not allow that; `Stopped` after SIGTERM, SIGUSR1 or SIGHUP;
    `Diverged` when most draws are useless.
    """
    problem.require_noise("a fit")
    folder = RunFolder(Path(out) if out is not None else free_folder(problem.title))
    known, begun = known_priors(frozen or {}, problem), known_priors(start or {}, problem)
    if both := [s for s in begun if s in known]:
        raise RunError(f"source '{both[0]}': a known prior is not learned, so learning cannot begin at another")
    description = describe_run(problem, held_out, known, begun, source_file)
    settings = continued(folder, config, description) if folder.exists else config or FitConfig()
    job = _Fit(problem, held_out, known, begun, folder, settings)
    progress = progress or Quiet()
    try:
        claim(folder.path / "config.toml" if folder.path.is_dir() else folder.path)
    except OSError:
        if not (folder.exists and job.done):  # else nothing is written, and nothing need be writable
            raise
        progress.advance(1.0, "done")
        return job.result
    design = None if folder.exists else pass_design(problem, known, settings.allow_unidentified, progress.say)
    folder.path.mkdir(parents=True, exist_ok=True)
    watched = Watchdog(progress)
    try:
        with folder.lock(), stop_signals() as asked:
            wait()  # until all have looked at what was there
            if folder.exists:  # by now, perhaps because of another process
                if is_first() and (found := continued(folder, config, description)) != settings:
                    job = _Fit(problem, held_out, known, begun, folder, found)
            else:
                if design is not None:
                    folder.save_design(design)
                folder.create(settings, description, provenance())
            folder.tidy()
            wait()
            beating = closing(Heartbeat(watched, folder.path)) if is_first() else nullcontext(watched)
            kept = job.config.model_dump(mode="json")
            wanted = track if is_first() else ()
            with beating as seen, open_trackers(TRACKERS, wanted, folder.path, kept, watched.say) as log:
                return job.run(seen, asked, log)
    finally:
        watched.close()


def resume(
    path: str | Path,
    problem: Problem | None = None,
    *,
    held_out: Problem | float | None = None,
    frozen: Mapping[str, Known] | None = None,
    start: Mapping[str, Known] | None = None,
    progress: Progress | None = None,
    track: Iterable[str] = (),
) -> Run:
    """Continues the run in a folder; a finished one is returned as it is.

    **Arguments:** `problem`, `held_out`, `frozen` and `start` as they were given to `fit`; not needed when the problem
    came from a file that is still there; `track` as for `fit`.

    **Raises:** `RunError` when there is no run, or its problem cannot be found or has changed.
    """
    folder = RunFolder(Path(path))
    if not folder.exists:
        raise RunError(no_run(path))
    source_file = folder.problem()["file"]
    if problem is None:
        if source_file is None:
            raise RunError(f"the run in {path} was started from Python: resume(path, problem) needs the problem again")
        loaded = load_problem(source_file)
        problem, held_out, frozen, start = loaded.problem, loaded.held_out, loaded.frozen, loaded.start
    how: dict[str, Any] = {
        "held_out": held_out,
        "frozen": frozen,
        "start": start,
        "progress": progress,
        "source_file": source_file,
        "track": track,
    }
    return fit(problem, out=path, **how)


class _Fit:
    """One fit: the stages in order, each of them skipped when it is done already."""

    def __init__(
        self,
        problem: Problem,
        held_out: Problem | float | None,
        frozen: dict[str, Prior],
        start: dict[str, Prior],
        folder: RunFolder,
        config: FitConfig,
    ):
        self.folder, self.frozen, self.start, self.config = folder, frozen, start, config
        self.problem, self.held_out = split(problem, held_out, self.config)
        self.some = portion(self.problem)  # what memory holds of it, for what goes through all of it at once
        self.plan = make_plan(self.problem, self.config.plan, frozen)
        stages = [stage.name for stage in self.plan]
        if isinstance(config.laps, dict) and (unknown := [name for name in config.laps if name not in stages]):
            known = among(unknown[0], stages)
            raise RunError(f"laps: the plan has no stage '{unknown[0]}'; its stages are {known}")
        # the law of the mixtures has no use for where learning begins
        self.contrast = None if start and config.law == "auto" else contrast_of(self.some, frozen, config)
        to_come = proofs(self.held_out, self.plan) if self.held_out is not None and config.judged != "never" else []
        self.pace, self.share = Pace(self.config, self.plan, self.held_out is not None, to_come), 0.0
        self.closed = _ALONE if self.config.laps == 0 and self.contrast is None else _CLOSED

    @property
    def result(self) -> Run:
        """The run, with its observations."""
        return Run(self.folder.path, problem=self.problem, held_out=self.held_out)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.folder.finished and (self.held_out is None or self.result.separated.exists())

    def run(self, progress: Progress, asked: threading.Event, log: Callable[[int, Mapping[str, Any]], None]) -> Run:
        """The stages that are not done yet; `asked` is set when they are to stop, `log` takes the record of a lap."""
        self.progress, self.asked, self.log = progress, asked, log
        learned, separated = self.folder.finished, self.result.separated.exists()
        wait()
        if not learned:
            self._instrument()
            gaussian = self._gaussian()
            priors = self._mixtures(gaussian) or self._laps(gaussian).priors
            note = partial(self._done, 0.0, None)
            refit(self.some, gaussian, priors, self.frozen, self.config, self.folder.path, note)
            self.folder.save_priors(priors)
            wait()
        run = self.result
        if self.held_out is not None and not separated:
            run.separate(self.held_out, draws=self.config.draws, out=run.separated, report=self._separating())
        self.progress.advance(1.0, "done")
        return run

    def _separating(self) -> Callable[[int, int], None]:
        before, expected = self.share, self.pace.separation(self.folder.records())
        left, what = under_way(expected) if expected else lambda part: None, "separating held-out observations"
        return lambda done, total: self._done(before + (1 - before) * done / total, left(done / total), what)

    def _instrument(self) -> None:
        """What all observations share of the instrument and is unknown; from then on it stands at what was found."""
        tick = partial(self._phase, "instrument", 0.0, inf)
        found = instrument_of(self.some, self.frozen, self.config, self.folder, self.progress.say, tick)
        if found is not None:
            self.problem = self.problem.restated(found.values, found.stds)
            self.some = portion(self.problem)
            self.held_out = self.held_out and self.held_out.restated(found.values, found.stds)

    def _gaussian(self) -> GaussianFit:
        done = self.folder.gaussian()
        wait()
        if done is not None:
            return done
        key = jax.random.fold_in(jax.random.key(self.config.seed), 0)
        if self.some is not self.problem:
            sizes = ", ".join(f"{len(view)} of '{name}'" for name, view in self.some.views.items())
            self.progress.say(f"closed forms learn from what the budget of memory holds: {sizes}")
        result = gaussian_em(
            self.some,
            self.config.gaussian if self.contrast is None else shortened(self.config.gaussian),
            fixed=populations_of(self.frozen, key),
            start=populations_of(self.start, key),
            seed=self.config.seed,
            report=lambda lap, laps, _: self._phase(
                f"Gaussian EM, lap {lap} of at most {laps}", self.closed / 2 * lap / laps, inf
            ),
        )
        self.folder.save_gaussian(result)
        if result.log_likelihood:
            ending = "converged" if result.converged else f"not converged ({result.shortfall})"
            self.progress.say(
                f"Gaussian stage: {len(result.log_likelihood)} laps, {ending}; "
                f"log-likelihood per value {result.log_likelihood[-1]:.4f}"
            )
        return result

    def _mixtures(self, gaussian: GaussianFit) -> dict[str, Prior] | None:
        """By the law of the mixtures, where that is better; None for laps of EM."""
        if self.contrast is None or self.folder.checkpoint() is not None:
            return None
        priors = start_state(gaussian, self.frozen, self.problem, self.config).priors
        scalings = {s: prior.scaling for s, prior in priors.items()}
        drawn = drawn_from(priors, self.config.seed)
        contrast = contrast_of(self.some, self.frozen, self.config, scalings, drawn)
        assert contrast is not None
        held = len(self.held_out.views.get(contrast.view, ())) if self.held_out is not None else 0
        separated = held * expected_draws(self.config.draws, self.config.mean_share) / len(contrast)
        pace = RoundsPace(self.config.mixtures.rounds, separated)
        tell = lambda what, share: self._done(share, None, what)  # noqa: E731
        learned = learn_mixtures(contrast, gaussian, priors, self.config, self.folder, pace, self.progress.say, tell)
        if learned is None and self.config.law != "mixtures":
            self.share = 0.0  # laps begin
            return None
        return learned or priors

    def _laps(self, gaussian: GaussianFit) -> EMState:
        state = self.folder.checkpoint(self.progress.say)
        wait()
        state = state or self._start(gaussian)
        self._position(state)
        prove = self._prove if self.held_out is not None and self.config.judged != "never" else None
        context = Expectation(self.problem, self.held_out, self.config, self.plan, self._report, prove)
        if not state.draws and self.config.laps != 0:
            self.progress.say("compiling: the first lap takes longer than the others")
        for after in run_stages(state, context):
            state = after
            self._judge(state)
            self.folder.save_checkpoint(state)
            self._stop(told(self.asked.is_set()))
            self._position(state)
            if state.draws:
                self.log(len(state.records), state.records[-1])
                self.progress.say(summary_line(state.records[-1]))
        return state

    def _prove(
        self, before: dict[str, Prior], after: dict[str, Prior], learned: tuple[str, ...]
    ) -> tuple[dict[str, Prior], dict[str, Any]]:
        """Which of the priors before a stage's laps and after them go on."""
        assert self.held_out is not None
        records = self.state.records
        left = under_way(self.pace.after(records, self.state.stage), self.pace.separation(records))
        tell = lambda part: self._done(0.0, left(part), "proof")  # noqa: E731
        key = jax.random.fold_in(jax.random.key(self.config.seed), 19)
        try:
            return proven(self.held_out, before, after, learned, key, self.progress.say, tell)
        except Exception as error:  # what judges a fit must not take it along
            self.progress.say(f"whether the laps have made priors better cannot be judged: {error}")
            return after, {}

    def _judge(self, state: EMState) -> None:
        """Adds the law of the mixtures to the record of a lap: all of them are asked with the same noise."""
        if self.held_out is None or self.config.judged == "never" or not state.records:
            return
        if state.stage == len(self.plan):
            record = used(state.records)
            if any(not found["used"] for found in state.records[-1].get("proof", {}).values()) and record["lap"]:
                record.pop("law", None)  # that of all sources of the lap, of which some are not used
        elif state.draws and (self.config.judged == "laps" or len(state.records) == 1):
            record = state.records[-1]
        else:
            return
        if "law" in record:
            return
        begin = perf_counter()
        left = self.pace.end(state.records, state.stage) if state.stage == len(self.plan) else inf
        self._phase("law of the mixtures", self._after(), left or inf)
        key = jax.random.fold_in(jax.random.key(self.config.seed), 18)
        try:
            record["law"] = told(law_of(self.held_out, state.priors, key, self.pace.judging()))
        except Exception as error:  # what judges a fit must not take it along
            record["law"] = {}
            self.progress.say(f"the law of the mixtures cannot be judged: {error}")
        record["seconds"]["law"] = perf_counter() - begin

    def _start(self, gaussian: GaussianFit) -> EMState:
        """Before the first lap: the components stage, where there is one."""
        known = {s: components_for_fit(prior) for s, prior in self.frozen.items()}
        start = {s: known.get(s) or p for s, p in gaussian.populations.items()}
        found = components_em(
            self.some,
            start,
            self.config.components,
            held_out=self.held_out,
            fixed=list(self.frozen),
            seed=self.config.seed,
            report=lambda share: self._phase("components", self.closed / 2 * (1 + share), inf),
            kept=self._say_components,
        )
        parts = ", ".join(f"{s} {n}" for s, n in found.sizes.items())
        ties = f"; ties {found.ties:g}" if max(found.sizes.values(), default=1) > 1 else ""
        what = f"{len(found.log_likelihood)} laps; components: {parts}{ties}"
        what = f"none: {found.refused}" if found.refused else what
        self.progress.say(f"components stage: {what}")
        state = start_state(gaussian, self.frozen, self.problem, self.config, found.components)
        # closed forms alone have begun at the moments of these; laps begin at the priors themselves
        return replace(state, priors={**state.priors, **self.start}) if self.config.laps != 0 else state

    def _say_components(self, found: ComponentsFit) -> None:
        components, likelihood = found.held_out[-1]
        parts = ", ".join(f"{s} {n}" for s, n in components.items())
        what = "held-out log-likelihood" if self.held_out else "log-likelihood less its penalty,"
        self.progress.say(f"components: {parts}; {what} per observation {likelihood:.3f}")

    def _position(self, state: EMState) -> None:
        self.state, self.parts = state, {}
        self._report("", 0, 1)

    def _report(self, what: str, done: int, total: int) -> None:
        """Within a lap: `what` is a pass and the source or the view."""
        kind, _, name = what.partition(" ")
        for each in PASSES:
            if each.name == kind:
                names = each.names(self.plan[self.state.stage], self.held_out.views if self.held_out else ())
                self.parts.setdefault(kind, dict.fromkeys(names, 0.0))[name] = done / total
        lap = self.state.lap + 1 if self.state.draws else 0
        self._done(*self.pace.done(self.state.records, self.state.stage, lap, self.parts), what)

    def _done(self, share: float, left: float | None, what: str) -> None:
        self.share = max(self.share, share)
        self._phase(what, self._after(), left if self.share else inf)

    def _after(self) -> float:
        """The share of the bar, after the closed forms."""
        return self.closed + (1 - self.closed) * self.share

    def _phase(self, what: str, fraction: float, left: float | None = None) -> None:
        self._stop(self.asked.is_set() and not several())  # of several processes none stops by itself
        self.progress.advance(fraction, what, left)

    def _stop(self, now: bool) -> None:
        if now:
            raise Stopped(f"stopped by a signal; {go_on(self.folder.path)}")
