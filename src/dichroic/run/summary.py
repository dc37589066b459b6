"""The result of a run in a few numbers."""

from typing import Any

import numpy as np

from dichroic import memory
from dichroic.metrics.psnr import psnr_per_sample
from dichroic.problem import Problem, View, as_pairs
from dichroic.run.judged import judged
from dichroic.run.run import Run
from dichroic.run.separation import Separation

__all__ = ["stages_of", "summarize", "view_scores"]


def summarize(run: Run) -> dict[str, Any]:
    """The stages with their laps and scores, and the separated held-out observations; everything is fit for JSON.

    The score is the replay score of held-out data, the lower the better; `first_score` is the one of the Gaussian stage
    (of what had been learned before, in later stages). `priors` says for every source which prior is used, and by what
    proof (`Choice`). `law` says for every view how well a classifier tells the data
    from what the priors make (`Judged`), `widths` how wide draws of learned posteriors are beside their errors
    (`Widths`).
    """
    summary: dict[str, Any] = {
        "folder": str(run.path),
        "finished": run.folder.finished,
        "stages": stages_of(run.records),
        "priors": [choice.describe() for choice in run.choices.values()],
    }
    held_out = run.held_out if run.separated.exists() else None
    summary["law"] = [vars(found) for found in judged(run.records)]
    summary["widths"] = [vars(found) for found in run.widths]
    summary["held_out"] = {} if held_out is None else view_scores(run.separation, held_out)
    return summary


def stages_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages that records of laps tell of, with their scores."""
    stages: dict[str, dict[str, Any]] = {}
    for record in records:
        stage = stages.setdefault(record["stage"], {"stage": record["stage"], "scores": {}})
        stage |= {"laps": record["lap"], "best_lap": record["best_lap"]}
        if "score" in record:
            stage["scores"][record["lap"]] = record["score"]
    for stage in stages.values():
        scores = stage.pop("scores")
        if scores:
            stage |= {"score": scores[stage["best_lap"]], "first_score": scores[min(scores)]}
    return list(stages.values())


def view_scores(separation: Separation, problem: Problem) -> dict[str, dict[str, Any]]:
    """For every view the number of observations, the residual of the draws and the share that diverged.

    `monte_carlo` is the share of the squared error of posterior means that is due to the number of draws, by source.
    Where the truth is known, `psnr` holds that of the posterior mean, of single draws, and of the mean as the view
    shows it (`seen`), each with the range of the truth as peak.
    """
    scores: dict[str, dict[str, Any]] = {}
    for name, view in problem.views.items():
        diverged = np.asarray(separation.diverged[name])
        usable = np.asarray(~diverged.any(1))
        chi_square = np.asarray(separation.chi_square[name])[~diverged]
        scores[name] = {
            "observations": len(view),
            "chi_square": float(chi_square.mean()) if chi_square.size else float("nan"),
            "diverged": float(diverged.mean()),
        }
        if name in separation.shares and not separation.point:
            scores[name]["monte_carlo"] = dict(separation.shares[name])
        if view.truth and usable.any():
            scores[name]["psnr"] = {
                s: _psnr(separation, name, view, s, usable) for s in view.truth if s in separation.samples[name]
            }
    return scores


def _psnr(separation: Separation, name: str, view: View, source: str, usable: np.ndarray) -> dict[str, float]:
    truth, kept = view.truth[source], separation.means.get(name, {})
    pairs = {
        "mean": (kept[source] if source in kept else separation.mean(name, source), truth),
        "draw": (separation.samples[name][source], truth),
    }
    if source in separation.appearances.get(name, {}):
        pairs["seen"] = separation.appearances[name][source], view.seen(source, truth)

    def ends(t: np.ndarray) -> np.ndarray:
        flat = as_pairs(t).reshape(len(t), -1)
        return np.stack([flat.min(1), flat.max(1)], axis=1)

    def score(kind: str, x: Any, t: np.ndarray) -> float:
        peak = float(np.ptp(memory.by_rows(ends, t)[usable])) or 1.0

        def of_rows(x: np.ndarray, t: np.ndarray) -> np.ndarray:
            return psnr_per_sample(as_pairs(x[:, 0] if kind == "draw" else x), as_pairs(t), peak)

        return float(memory.by_rows(of_rows, x, t)[usable].mean())

    return {kind: score(kind, x, t) for kind, (x, t) in pairs.items()}
