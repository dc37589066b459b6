r"""Data fission: calibration on real data, without a truth.

Gaussian data can be split in two with independent noise: with :math:`e \sim \mathcal N(0, I)`,

.. math:: y_1 = y' + e, \qquad y_2 = y' - e .

The sources are drawn given `y_1`, whose noise is :math:`\sqrt 2` times larger, and `y_2` is predicted from each draw,
noise included. In a sound result `y_2` and its predictions are exchangeable: every value of `y_2` has a uniform rank
among its predictions. Leiner et al. 2023 (J. Am. Stat. Assoc., arXiv 2112.11079), with :math:`\tau = 1`. It tests
priors, operators and sampler together in the space of the data, and is blind to what no data shows. Views whose noise
is not Gaussian are left out, and those whose posterior was learned for their noise.
"""

import numpy as np

from dichroic.design.finding import Finding
from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.ranks import RankCounter, gamma_test, mean_test, normal_scores, score_tests
from dichroic.diagnose.result import Question, Result, conclude

__all__ = ["fission", "split_data"]

_DIRECTIONS = 8
_LEVELS = np.linspace(0, 1, 21)


def split_data(y: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of whitened data, given a second draw of the noise; both have noise of variance 2."""
    return y + e, y - e


def fission(case: Case, report: Report) -> Result:
    """Ranks of one half of held-out data among predictions from the other half."""
    total, draws = case.budget.fission
    parts, arrays, counted, failed, steps = [], {}, 0, 0, 0
    chosen = {v: rows for v, rows in case.share(total).items() if case.views[v].is_gaussian}
    notes = [
        Finding("green", f"view '{v}'", "only Gaussian noise can be split in two", "DC292")
        for v in case.views
        if v not in chosen
    ]
    for name, rows in chosen.items():
        white = case.part_of(name, rows)
        rng = case.rng("fission", name)
        y1, y2 = split_data(white.y, white.white_noise(rng))
        try:
            sampler = case.model.given(name, white.with_data(y1, noise=np.sqrt(2.0)))
        except ValueError as error:
            text = f"its learned posterior cannot be asked about one half of the data: {error}"
            notes.append(Finding("green", f"view '{name}'", text, "DC292"))
            continue
        directions = rng.standard_normal((y2.shape[1], _DIRECTIONS)) / np.sqrt(y2.shape[1])
        entries, projected = RankCounter(np.where(white.observed, y2, np.nan)), RankCounter(y2 @ directions)
        usable = white.count > 0
        for draw in range(draws):
            x = sampler(case.key_for("fission", name, draw))
            prediction = white.mix(x) + np.sqrt(2.0) * white.white_noise(rng)
            entries.add(prediction)
            projected.add(prediction @ directions)
            steps += 1
            report(steps / (draws * len(chosen)))
        fine = entries.usable.any(1)
        counted, failed = counted + int(fine.sum()), failed + int((usable & ~fine).sum())
        u = entries.uniform(rng)
        parts += _parts(name, normal_scores(u[fine]), normal_scores(projected.uniform(rng)[fine]))
        ranks = u[np.isfinite(u)]
        arrays[f"{name}/ranks"] = np.histogram(ranks, np.linspace(0, 1, 21))[0]
        arrays[f"{name}/coverage"] = np.array([np.mean(np.abs(2 * ranks - 1) <= level) for level in _LEVELS])
        per = np.stack([np.nanmean(np.abs(2 * u[fine] - 1) <= level, axis=1) for level in _LEVELS], 1)
        arrays[f"{name}/coverage_error"] = per.std(0) / np.sqrt(max(len(per), 1))
        arrays[f"{name}/nominal"] = _LEVELS
    diverged = failed / max(counted + failed, 1)
    found = {"observations": counted, "draws": draws, "arrays": arrays, "notes": notes}
    return conclude("fission", parts, case.checks, diverged, **found)


def _parts(name: str, s: np.ndarray, projected: np.ndarray) -> list[Question]:
    """Entries of one observation depend on each other, observations do not: tested are means of observations."""
    if len(s) < 8:
        return []
    bias, p_bias = mean_test(np.nanmean(s, 1))
    square, p_spread = gamma_test(np.nanmean(s**2, 1))
    tests = [score_tests(column) for column in projected.T]
    spread = min(tests, key=lambda t: t["spread"][1])["spread"]
    shift = min(tests, key=lambda t: t["bias"][1])["bias"]
    return [
        Question(name, "bias", bias, 0.0, p_bias, 0.1, 0.5),
        Question(name, "spread", float(np.sqrt(square)), 1.0, p_spread, 0.05, 0.25),
        Question(name, "bias, any direction", shift[0], 0.0, min(1.0, len(tests) * shift[1]), 0.2, 0.7),
        Question(name, "spread, any direction", spread[0], 1.0, min(1.0, len(tests) * spread[1]), 0.1, 0.35),
    ]
