r"""Residuals of posterior draws.

If `x` is a draw (not the mean) from a correct posterior of a held-out observation, then

.. math:: r = y' - A' x \sim \mathcal N(0, I), \qquad |r|^2 \sim \chi^2_m ,

over the population of observations. One draw per observation makes these independent, so all p-values but the last one
are exact. Of the posterior mean nothing of the kind is true: it leaves far less than the noise.
"""

from collections.abc import Iterator

import numpy as np

from dichroic.diagnose.case import Case, Report
from dichroic.diagnose.ranks import chi_square_test, normal_scores, score_tests
from dichroic.diagnose.result import Question, Result, conclude
from dichroic.diagnose.white import WhiteView
from dichroic.white.layout import diagonal_noise

__all__ = ["chi_square"]

_BINS = 4  # of the noise level


def chi_square(case: Case, report: Report) -> Result:
    """Mean and width of chi-square per value, whiteness and mean of the residuals, dependence on the noise level."""
    parts, arrays, failed, total = [], {}, 0, 0
    for done, (name, white) in enumerate(case.views.items()):
        x = case.first_draw(name)
        r = white.residuals(x, case.rng("chi-square", name))
        usable = np.isfinite(r).all(1) & (white.count > 0)
        failed, total = failed + int((~np.isfinite(r).all(1)).sum()), total + len(r)
        r, seen = np.where(usable[:, None], r, 0), white.observed & usable[:, None]
        m = white.count[usable]
        chi = (r[usable] ** 2).sum(1) / m
        arrays |= {f"{name}/chi_square": chi, f"{name}/count": m, f"{name}/index": np.flatnonzero(usable)}
        if len(chi) >= 8:
            parts += _size(name, chi, m)
            parts += _structure(name, r, seen, white, arrays)
            parts += _noise_level(name, r, seen, white, arrays)
        report((done + 1) / len(case.views))
    diverged = failed / max(total, 1)
    return conclude("chi_square", parts, case.checks, diverged, observations=total - failed, draws=1, arrays=arrays)


def _size(name: str, chi: np.ndarray, m: np.ndarray) -> Iterator[Question]:
    from scipy import stats

    p = chi_square_test(float((m * chi).sum()), float(m.sum()))
    yield Question(name, "mean", float(chi.mean()), 1.0, p, 0.05, 0.2, weight=3.0)
    u = np.clip(stats.chi2.cdf(m * chi, m), 1e-15, 1 - 1e-15)
    width = float(np.sqrt(np.mean((chi - chi.mean()) ** 2 * m / 2)))
    # a width beyond the mean's own doing: the scores are centred first
    s = normal_scores(u)
    centred = (s - s.mean()) * np.sqrt(len(s) / (len(s) - 1))
    yield Question(name, "width", width, 1.0, score_tests(centred)["spread"][1], 0.15, 0.5)


def _structure(name: str, r: np.ndarray, seen: np.ndarray, white: WhiteView, arrays: dict) -> Iterator[Question]:
    """What the noise would not leave: the same residual again and again, or one that resembles its neighbours."""
    from scipy import stats

    n = np.maximum(seen.sum(0), 1)
    mean, variance = r.sum(0) / n, (r**2).sum(0) / n
    enough = seen.sum(0) > 0
    excess = float((n * mean**2)[enough].sum())
    p = float(stats.chi2.sf(excess, int(enough.sum())))
    size = np.sqrt(max(0.0, float(np.mean((mean**2 - 1 / n)[enough]))))
    yield Question(name, "mean residual", size, 0.0, p, 0.1, 0.5)
    shape = (2, *white.view.event_shape) if np.iscomplexobj(white.view.y) else white.view.event_shape
    arrays[f"{name}/mean"] = np.where(enough, mean, np.nan).reshape(shape)
    arrays[f"{name}/variance"] = np.where(enough, variance, np.nan).reshape(shape)
    cube, mask = r.reshape(len(r), *shape), seen.reshape(len(r), *shape)
    axes = range(1, cube.ndim) if not np.iscomplexobj(white.view.y) else range(2, cube.ndim)
    names = [axis for axis in axes if cube.shape[axis] >= 4]
    correlations = []
    for axis in names:
        a, b = (np.take(cube, np.arange(i, cube.shape[axis] - 1 + i), axis) for i in (0, 1))
        both = np.take(mask, np.arange(cube.shape[axis] - 1), axis) & np.take(
            mask, np.arange(1, cube.shape[axis]), axis
        )
        pairs = max(int(both.sum()), 1)
        size = float((a * b)[both].sum() / pairs)
        correlations.append(size)
        # relative to the residual's own size, so that noise of the wrong size is not told as structure
        unit = max(float((r[seen] ** 2).mean()), 1e-12)
        z = size / unit * np.sqrt(pairs)
        yield Question(
            name, f"neighbours, axis {axis - 1}", size / unit, 0.0, float(2 * stats.norm.sf(abs(z))), 0.05, 0.3
        )
    arrays[f"{name}/neighbours"] = np.asarray(correlations)


def _noise_level(name: str, r: np.ndarray, seen: np.ndarray, white: WhiteView, arrays: dict) -> Iterator[Question]:
    """Chi-square per bin of the stated noise, where that varies from value to value."""
    from scipy import stats

    std = diagonal_noise(white.view)
    if std is None or np.iscomplexobj(white.view.y):
        return
    std = np.broadcast_to(std, white.view.y.shape).reshape(r.shape)[seen]
    if not len(std) or std.max() <= 1.05 * std.min():
        return
    order = np.argsort(std, kind="stable")
    bins = np.array_split(order, _BINS)
    square = r[seen] ** 2
    arrays[f"{name}/noise_bins"] = np.array([(std[b].mean(), square[b].mean(), len(b)) for b in bins if len(b)])
    low, high = (float(square[b].mean()) for b in (bins[0], bins[-1]))
    unit = max(float(square.mean()), 1e-12)
    error = np.sqrt(2 / len(bins[0]) + 2 / len(bins[-1]))
    z = (high - low) / unit / error
    yield Question(name, "noise level", (high - low) / unit, 0.0, float(2 * stats.norm.sf(abs(z))), 0.1, 0.5)
