"""Diagnosing a run: all checks on its held-out observations, kept in its folder as they are made."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import jax

from dichroic.diagnose import CHECKS, Budget, LearnedModel, Result, Verdict, default_checks, judge, run_panel
from dichroic.diagnose.panel import few_observations
from dichroic.diffusion import Prior
from dichroic.em import split
from dichroic.hosts import by_first
from dichroic.posterior import Method, ViewPosterior
from dichroic.problem import Problem, load_problem
from dichroic.run.folder import RunError
from dichroic.run.judged import judged
from dichroic.run.progress import Progress, Quiet
from dichroic.run.run import Run
from dichroic.store import Format, save_json

__all__ = ["Diagnosis", "diagnose"]

_FOLDER = "diagnose"
_VERDICT = Format("dichroic verdict", 1)


@dataclass(frozen=True)
class Diagnosis:
    """The results of the checks by name, and the verdict drawn from them."""

    results: dict[str, Result]
    verdict: Verdict


def diagnose(
    run: Run,
    problem: Problem | None = None,
    *,
    budget: Budget | None = None,
    checks: Iterable[str] | None = None,
    sampling: Method | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Is the result good? The checks of `dichroic.diagnose.CHECKS`, on observations the fit did not learn from.

    Every result is written to `diagnose/` in the run folder when it is made; asked again, a check that was made with
    the same observations, priors and budget is read from there.

    **Arguments:** `problem`, other observations of the same sources than those that were held out; `budget`, how much
    work; `checks`, some by name (default: `default_checks`); `sampling`, a method in place of the fit's, and of what
    was learned for a view; `progress`, told what happens.

    **Raises:** `RunError` when the fit is not finished, nothing was held out, or a check is unknown.
    """
    learned = {} if sampling else run.posteriors
    priors, sampling, budget = run.priors, sampling or run.config.sampling, budget or Budget()
    names = list(default_checks() if checks is None else checks)
    if unknown := [name for name in names if name not in CHECKS]:
        raise RunError(f"there is no check '{unknown[0]}'; there are: {', '.join(CHECKS)}")
    observations = problem if problem is not None else _held_out(run, budget.observations)
    progress = progress or Quiet()
    for note in few_observations(observations):
        progress.say(f"{note.where}: {note.text}")
    with run.folder.lock():
        results = run_panel(
            observations,
            LearnedModel(priors, sampling, _suitable(learned, priors, observations, progress.say)),
            key=jax.random.fold_in(jax.random.key(budget.seed), 11),
            budget=budget,
            checks=names,
            folder=run.path / _FOLDER,
            identity=_identity(run, sampling, learned),
            report=lambda check, fraction: progress.advance(fraction, f"{check}: {CHECKS[check].question}"),
        )
        worse = [j.sentence for j in judged(run.records) if j.worse]
        verdict = judge(results).doubted([*worse, *(w.sentence for w in run.widths)])
        _write(run.path / _FOLDER / "verdict.json", verdict)
    progress.advance(1.0, "done")
    return Diagnosis(results, verdict)


def _held_out(run: Run, limit: int) -> Problem:
    """As many held-out observations as the checks can use, which may be more than the stopping rule looked at."""
    file = run.folder.problem()["file"]
    if file is None:
        held_out = run.held_out
    else:
        loaded = load_problem(file)
        if loaded.problem.fingerprint() != run.folder.problem()["fingerprint"]:
            raise RunError(f"{file} has changed since the run in {run.path} was started")
        config = run.config.model_copy(update={"held_out_limit": max(limit, run.config.held_out_limit)})
        held_out = split(loaded.problem, loaded.held_out, config)[1]
    if held_out is None:
        raise RunError(f"nothing was held out by the run in {run.path}; give other observations to diagnose it with")
    return held_out


def _suitable(
    learned: Mapping[str, ViewPosterior], priors: Mapping[str, Prior], observations: Problem, say: Callable[[str], None]
) -> dict[str, ViewPosterior]:
    """The posteriors that `separate` would draw from; of the others is said why not."""
    found = {}
    for name, posterior in learned.items():
        if name not in observations.views:
            continue
        try:
            posterior.check(observations.views[name], priors)
            found[name] = posterior
        except ValueError as error:
            say(f"view '{name}': its learned posterior is not used: {error}")
    return found


def _identity(run: Run, sampling: Method, learned: Collection[str]) -> str:
    digest = sha256(sampling.model_dump_json().encode())
    for folder in ("priors", *(["posteriors"] if learned else [])):
        for file in sorted((run.path / folder).glob("*.safetensors")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


@by_first
def _write(file: Path, verdict: Verdict) -> None:
    content = {"level": verdict.level, "label": verdict.label, "causes": [asdict(cause) for cause in verdict.causes]}
    save_json(file, {**content, "reasons": list(verdict.reasons)}, _VERDICT)
