"""Cells: each done once in a folder of its own, whatever happens; one method on one experiment is fitted and scored."""

import json
import os
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dichroic.diffusion import Symbols, describe_prior
from dichroic.em import Diverged
from dichroic.problem import ProblemError, as_pairs
from dichroic.run import Progress, RunError, Separation, Stopped
from dichroic.run.provenance import provenance
from dichroic.studies.radio import bits_of
from dichroic.studies.reproduce.features import features_of
from dichroic.studies.reproduce.material import ExperimentData, write_json
from dichroic.studies.reproduce.measures import Estimates, as_dict, measure
from dichroic.studies.reproduce.methods import Contender
from dichroic.studies.reproduce.stopwatch import timed

__all__ = ["keep_cell", "machine", "read_cell", "run_cell"]


def run_cell(
    method: Contender, material: ExperimentData, progress: Progress, folder: Path, seed: int, data: Path | None
) -> dict[str, Any]:
    """Fits, separates and scores; what is done already is not done again.

    The folder holds `settings.json`, what the method keeps, `separated.zarr`, `times.json` and, when all is done,
    `cell.json`. When only the scoring has changed, draws that are there are scored again.

    **Returns:** what `cell.json` says: `status` "done", "not applicable" or "failed", with a `reason` if not done.

    **Raises:** `RunError` when the folder belongs to other settings or data; `Stopped` when asked to stop.
    """
    experiment = material.experiment
    identity = {
        "method": method.name,
        "settings": method.settings,
        "seed": seed,
        "data": material.fingerprint,
    }
    asked = {
        "targets": [t.model_dump() for t in experiment.targets],
        "measures": experiment.measures,
        "scoring": experiment.scoring.model_dump(),
    }

    def work(before: Mapping[str, Any] | None) -> dict[str, Any]:
        # no other cell has programs of these shapes, and Linux ends a process that maps too much memory
        jax.clear_caches()
        return _work(method, material, folder, seed, data, progress, before)

    return keep_cell(folder, identity, {"method": method.name, "title": method.title}, asked, work)


def keep_cell(
    folder: Path,
    identity: Mapping[str, Any],
    about: Mapping[str, Any],
    asked: Mapping[str, Any],
    work: Callable[[Mapping[str, Any] | None], dict[str, Any]],
) -> dict[str, Any]:
    """Does the work of one cell, unless it is done, and keeps what came of it in `cell.json`.

    **Arguments:** `identity`, all that the work depends on; `about`, what the cell says of itself; `asked`, what the
    scores depend on; `work(before)`, which is given what is there and returns what the cell says.

    **Returns:** what `cell.json` says: `status` "done", "not applicable" or "failed", with a `reason` if not done.

    **Raises:** `RunError` when the folder belongs to another identity; `Stopped` when asked to stop.
    """
    _check_same(folder, identity)
    before = read_cell(folder)
    if before is not None and before["status"] == "done" and before["asked"] == asked:
        return before
    write_json(folder / "settings.json", identity)
    cell: dict[str, Any] = {**about, "asked": asked, "provenance": machine()}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cell |= work(before)
        cell["warnings"] = sorted({str(w.message) for w in said if issubclass(w.category, UserWarning)})
    except ProblemError as error:
        cell |= {"status": "not applicable", "reason": "; ".join(getattr(error, "faults", [str(error)]))}
    except Stopped:
        raise Stopped("stopped by a signal; the same command goes on from here") from None
    except (RunError, Diverged) as error:
        cell |= {"status": "failed", "reason": str(error)}
    except Exception as error:  # one method must not take the others' results with it; the trace is kept
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        cell |= {"status": "failed", "reason": f"{type(error).__name__}: {error} (see error.txt in its folder)"}
    write_json(folder / "cell.json", _finite(cell))
    return cell


def read_cell(folder: Path) -> dict[str, Any] | None:
    """What was found before, None when there is nothing."""
    file = folder / "cell.json"
    return json.loads(file.read_text()) if file.is_file() else None


def machine() -> dict[str, Any]:
    """Versions, devices, time and the number of cores that may be used."""
    return {
        **provenance(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _work(
    method: Contender,
    material: ExperimentData,
    folder: Path,
    seed: int,
    data: Path | None,
    progress: Progress,
    before: Mapping[str, Any] | None,
) -> dict[str, Any]:
    experiment, scoring = material.experiment, material.experiment.scoring
    times = folder / "times.json"
    with timed(times, "fit"):
        method.fit(material.problem, folder, material.file, seed, progress)
    separated = folder / "separated.zarr"
    # a change of scoring alone needs no new draws
    again = before is None or before["asked"]["scoring"]["draws"] != scoring.draws
    if again or not separated.exists():
        progress.advance(0.98, "separating held-out observations")
        with timed(times, "separate"):
            method.separate(material.test, folder, experiment.targets, scoring.draws, seed)
    found = Separation.open(separated)
    progress.advance(0.99, "scores")
    with timed(times, "score"):
        scores, missing = _scores(method, material, folder, found, seed, data)
    diverged = {view: float(np.mean(bad)) for view, bad in found.diverged.items()}
    chi_square = {view: _mean(np.where(found.diverged[view], np.nan, chi)) for view, chi in found.chi_square.items()}
    return {
        "status": "done",
        "scores": scores,
        "missing": missing,
        "residual": chi_square,
        "diverged": diverged,
        "draws": 0 if found.point else scoring.draws,
        "held_out": {name: len(view) for name, view in material.test.views.items()},
        "evaluations_per_draw": found.evaluations,
        "effort": method.effort(folder),
        "said": method.said(folder),
        "times": json.loads(times.read_text()),
        "settings": method.settings,
    }


def _scores(
    method: Contender, material: ExperimentData, folder: Path, found: Separation, seed: int, data: Path | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The numbers of every target; and measures that cannot be had, with the reason."""
    experiment, scoring = material.experiment, material.experiment.scoring
    scores: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for target in experiment.targets:
        truth = material.test.views[target.view].truth.get(target.source)
        if truth is None or target.source not in found.samples[target.view]:
            continue
        prior = method.sample(folder, target.source, scoring.set_size, seed) if scoring.prior else None
        case = Estimates(
            as_pairs(found.draws(target.view, target.source)),
            np.asarray(truth),
            prior,
            target.peak,
            found.point,
            features_of(experiment.features, data) if any("frechet" in m for m in experiment.measures) else None,
            as_pairs(found.mean(target.view, target.source)),
            _seen(material, found, target.view, target.source),
            _bits(material, target.source),
        )
        numbers = {}
        for name in experiment.measures:
            try:
                value = measure(name, case, scoring.set_size, scoring.replicates)
            except ImportError as error:
                missing[name] = str(error)
                continue
            if value is not None:
                numbers[name] = value
        scores[f"{target.view}/{target.source}"] = as_dict(numbers)
    return scores, missing


def _seen(material: ExperimentData, found: Separation, view: str, source: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Means and truth as the view shows them, where both are real images and the means were kept."""
    if source not in found.appearances.get(view, {}):
        return None
    shown, shape = found.seen(view, source), material.test.sources[source].real_shape
    truth = np.asarray(material.test.views[view].truth[source], np.float32).reshape(-1, *shape)
    return None if np.iscomplexobj(shown) else (shown, material.test.views[view].seen(source, truth))


def _bits(material: ExperimentData, source: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What reads the bits of a source whose prior is one of symbols."""
    table, known = material.experiment.priors.get(source), material.test.sources[source]
    prior = None if table is None else describe_prior(table, known.real_shape, known.is_complex)
    return partial(bits_of, prior) if isinstance(prior, Symbols) else None


def _check_same(folder: Path, identity: Mapping[str, Any]) -> None:
    file = folder / "settings.json"
    if not file.is_file():
        return
    before = json.loads(file.read_text())
    now = json.loads(json.dumps(identity))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise RunError(
            f"{folder} holds results of other {' and '.join(changed)}; remove it, or choose another folder with --out"
        )


def _mean(x: np.ndarray) -> float:
    finite = x[np.isfinite(x)]
    return float(finite.mean()) if finite.size else float("nan")


def _finite(content: Any) -> Any:
    """Numbers that are not finite as None: JSON has none."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
