r"""Stein's identity, of posterior draws of real observations.

The score of a posterior is known without its normalisation,

.. math:: s(x) = \sum_s \nabla \log p_s(x_s) + A'^\top (y' - A' x) ,

and draws must have it: the kernel Stein discrepancy of the draws of every observation is zero on average. It needs no
truth and no simulation, and sees directions that the data do not, where chi-square does not move. It is blind to modes
that no draw is in, and to their weights. The score of a network is taken at a small noise level, and its errors there
count as errors of the draws.
"""

import numpy as np

from dichroic.design.finding import Finding
from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.result import Question, Result, conclude
from dichroic.diagnose.white import WhiteView
from dichroic.score import stein_discrepancies, stein_test

__all__ = ["stein"]

_COORDINATES = 32  # leading directions of the posterior that are looked at
_TOLERANCE, _SEVERE = 5e-4, 1e-2  # of what the discrepancy of a single draw is (docs/diagnostics.md)


def stein(case: Case, report: Report) -> Result:
    """The discrepancy of the draws of some observations of every view, in units of the posterior's covariance."""
    observations, draws = case.budget.stein
    parts, notes, arrays, failed, total = [], [], {}, 0, 0
    rows = case.share(observations)
    for done, (name, some) in enumerate(rows.items()):
        white = case.part_of(name, some)
        if not white.is_gaussian or not _known(case, white):
            what = "no score is known of its noise, or of one of its sources"
            notes.append(Finding("green", f"view '{name}'", f"the Stein check does not apply: {what}", "DC292"))
            continue
        draw, score_of = case.model.given(name, white.view), case.model.score  # pyright: ignore
        x, score = [], []
        for k in range(draws):
            found = draw(case.key_for("stein", name, k))
            pulled = white.pull(found)
            x.append(np.concatenate([found[s].reshape(len(some), -1) for s in white.sources], axis=1))
            known = {s: score_of(s, found[s]) + pulled[s] for s in white.sources}
            score.append(np.concatenate([known[s].reshape(len(some), -1) for s in white.sources], axis=1))
            report((done + (k + 1) / draws) / len(rows))
        x, score = np.stack(x, axis=1).astype(float), np.stack(score, axis=1)
        usable = np.asarray(np.isfinite(x).all((1, 2)) & np.isfinite(score).all((1, 2)))
        failed, total = failed + int((~usable).sum()), total + len(usable)
        if usable.sum() < 8:
            continue
        z, t = _whitened(x[usable], score[usable])
        u = stein_discrepancies(z, t, np.sqrt(z.shape[2] / 2))
        value, p = stein_test(u, case.rng("stein", name))
        parts.append(Question(name, "discrepancy", value, 0.0, p, _TOLERANCE, _SEVERE))
        arrays[f"{name}/discrepancy"] = (u.sum((1, 2)) - np.einsum("nkk->n", u)) / (draws * (draws - 1))
    failures = failed / max(total, 1)
    return conclude(
        "stein", parts, case.checks, failures, notes=notes, observations=total - failed, draws=draws, arrays=arrays
    )


def _known(case: Case, white: WhiteView) -> bool:
    """Whether the model has a score of every source of a view."""
    score = getattr(case.model, "score", None)
    return score is not None and all(score(s, np.zeros((1, *white.shapes[s]))) is not None for s in white.sources)


def _whitened(x: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Along the leading directions `U` of the mean covariance within an observation, in units in which the score has
    unit covariance: :math:`z = C^{1/2} U^T x` and :math:`t = C^{-1/2} U^T s`, `C` being the mean of :math:`U^T s s^T
    U`. For a Gaussian these are units of its covariance; where there are modes, units of their widths.
    """
    n, K, d = x.shape
    centred = (x - x.mean(1, keepdims=True)).reshape(-1, d)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    U = rows[:_COORDINATES][singular[:_COORDINATES] > 1e-6 * singular[0]].T
    z, t = x @ U, score @ U
    values, V = np.linalg.eigh(np.einsum("nki,nkj->ij", t, t) / (n * K))
    root = np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    return z @ V * root, t @ V / root
