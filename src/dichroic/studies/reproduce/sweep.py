"""The settings of a method that suit an experiment best, found on observations set aside from the training ones."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import names
from dichroic.problem import Problem, ProblemError
from dichroic.run import Progress, Quiet, RunError
from dichroic.store import write
from dichroic.studies.reproduce.experiment import Experiment, Range, load_experiment
from dichroic.studies.reproduce.generators import MissingData
from dichroic.studies.reproduce.material import ExperimentData, prepare_material, write_json
from dichroic.studies.reproduce.measures import Estimates, measure
from dichroic.studies.reproduce.methods import method_named

__all__ = ["sweep", "tuned_settings"]

_VALIDATION = 0.2  # of the training observations


def sweep(
    experiment: str,
    method: str,
    scale: str = "laptop",
    out: str | Path = "runs/reproduce",
    *,
    trials: int = 20,
    data: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Looks for the settings with the best PSNR of the experiment's first target, and keeps them for `reproduce`.

    The method is fitted to four fifths of the training observations and scored on the last fifth, with their truth: a
    choice that only a benchmark can make, and an advantage over methods that are not tuned. Held-out observations take
    no part. A sweep that was stopped goes on where it was.

    **Arguments:** `trials`, of settings in all, chosen by optuna's TPE (Bergstra et al. 2011) in the ranges of the
    experiment's table `sweep`; the others as in `reproduce`.

    **Returns:** `tuned/METHOD.toml` in the folder of the experiment, which `reproduce` reads from then on.

    **Raises:** `RunError` where the experiment has no ranges for the method, or optuna is missing.
    """
    try:
        import optuna  # pyright: ignore[reportMissingImports]
        from optuna.storages.journal import JournalFileBackend  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RunError("a sweep needs the package optuna: pip install 'dichroic[tune]'") from error
    progress = progress or Quiet()
    about = load_experiment(experiment, scale)
    if method not in about.sweep:
        raise RunError(
            f"experiment '{experiment}' has no ranges to sweep for '{method}'; it has: {names(about.sweep) or 'none'}"
        )
    folder = Path(out) / scale / experiment
    try:
        material = prepare_material(about, folder / "data", seed, None if data is None else Path(data))
    except MissingData as error:
        raise RunError(f"{about.title} {error}") from error
    place = folder / "tuned" / method
    place.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = JournalFileBackend(str(place / "trials.log"))
    study = optuna.create_study(
        study_name=f"{experiment} {method}",
        storage=optuna.storages.JournalStorage(journal),
        direction="maximize",
        load_if_exists=True,
    )
    kept, validation = _parts(material, seed)
    while (done := len([t for t in study.trials if t.state.is_finished()])) < trials:
        # started from the seed and the number of trials before it: a sweep that was stopped goes on alike
        study.sampler = optuna.samplers.TPESampler(seed=seed + done)
        trial = study.ask()
        chosen = {key: _suggest(trial, key, r) for key, r in about.sweep[method].items()}
        settings = about.changed({}, method, nested(chosen)).settings_of(method)
        value = _score(about, method, settings, kept, validation, place / "trial", seed)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
        shown = "failed" if value is None else f"{value:.2f} dB"
        progress.say(f"{experiment}, {method}: trial {done + 1} of {trials}: {chosen}: {shown}")
        progress.advance((done + 1) / trials, f"{experiment}, {method}")
    return _keep(study, folder, method, trials)


def tuned_settings(folder: Path, method: str) -> dict[str, Any]:
    """What a sweep found for a method in the folder of an experiment; empty without one."""
    import tomllib

    file = folder / "tuned" / f"{method}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))["settings"] if file.is_file() else {}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with dots in their names as tables.

    >>> nested({"gamma": 1, "training.rate": 2})
    {'gamma': 1, 'training': {'rate': 2}}
    """
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *tables, last = key.split(".")
        table = found
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return found


def _suggest(trial: Any, key: str, wanted: Range) -> Any:
    if wanted.integer:
        return trial.suggest_int(key, int(wanted.low), int(wanted.high), log=wanted.log)
    return trial.suggest_float(key, wanted.low, wanted.high, log=wanted.log)


def _parts(material: ExperimentData, seed: int) -> tuple[Problem, Problem]:
    kept, validation = material.problem.split(_VALIDATION, seed)
    view = material.experiment.targets[0].view
    shown = validation.views[view].mixing
    return kept, Problem({s: validation.sources[s] for s in shown}, {view: validation.views[view]})


def _score(
    experiment: Experiment,
    name: str,
    settings: Mapping[str, Any],
    kept: Problem,
    validation: Problem,
    folder: Path,
    seed: int,
) -> float | None:
    """PSNR of single draws, or of point estimates; None where the fit came to nothing."""
    target = experiment.targets[0]
    shutil.rmtree(folder, ignore_errors=True)
    method = method_named(name, settings)
    try:
        method.fit(kept, folder, folder, seed, Quiet())
        found = method.separate(validation, folder, [target], 1, seed)
    except ProblemError:
        return None
    draws = found.draws(target.view, target.source)
    case = Estimates(draws, np.asarray(validation.views[target.view].truth[target.source]), None, target.peak)
    measured = measure("psnr", case)
    return None if measured is None else measured.interval.estimate


def _keep(study: Any, folder: Path, method: str, trials: int) -> Path:
    import tomli_w

    finished = [t for t in study.trials if t.value is not None]
    if not finished:
        raise RunError(f"none of {trials} trials of '{method}' came to a result")
    best = max(finished, key=lambda t: t.value)
    file = folder / "tuned" / f"{method}.toml"
    about = {"trials": len(study.trials), "psnr": round(best.value, 4), "settings": nested(best.params)}
    write(file, tomli_w.dumps(about))
    shutil.rmtree(folder / "tuned" / method / "trial", ignore_errors=True)
    rows = [{"number": t.number, "settings": t.params, "psnr": t.value} for t in study.trials]
    write_json(folder / "tuned" / f"{method}.json", json.loads(json.dumps(rows)))
    return file
