r"""The gap of expectation maximisation: does the aggregate of the posteriors equal the prior?

At a fixed point of EM with the right likelihood,

.. math:: \frac1n \sum_i p(x_s \mid y_i) \to p_s(x_s) ,

so one posterior draw of each held-out observation is, over the observations, a sample of the prior. It is compared with
prior draws along the prior's leading components (means, widths) and in its Mahalanobis norm, by rank tests
(Mann and Whitney), which need nothing to be normal. The size of the gap is a Fréchet distance in these components,

.. math:: \Big(|\mu - \mu'|^2 + \mathrm{tr}\big(S + S' - 2 (S^{1/2} S' S^{1/2})^{1/2}\big)\Big) / \mathrm{tr}\, S ,

less the distance of two prior samples of the same size.
"""

import numpy as np

from dichroic.diagnose.case import Case, Report, flat
from dichroic.diagnose.result import Question, Result, conclude

__all__ = ["frechet", "gap"]

_COMPONENTS = 8
_POOL = 2048
_KEPT = 1024  # draws that a picture shows


def gap(case: Case, report: Report) -> Result:
    """Pooled posterior draws of held-out observations against prior draws, source by source."""
    parts, arrays, failed, total = [], {}, 0, 0
    for v in case.views:
        bad = ~np.all([np.isfinite(x.reshape(len(x), -1)).all(1) for x in case.first_draw(v).values()], axis=0)
        failed, total = failed + int(bad.sum()), total + len(bad)
        report(total / sum(len(white) for white in case.views.values()) / 2)
    sources = [s for s in case.problem.sources if any(s in white.sources for white in case.views.values())]
    for done, s in enumerate(sources):
        draws = np.concatenate([flat(case.first_draw(v)[s]) for v, w in case.views.items() if s in w.sources])
        draws = draws[np.isfinite(draws).all(1)]
        if len(draws) < 8:
            continue
        prior = flat(case.model.sample(s, max(case.budget.prior, len(draws)), case.key_for("gap", s)))
        mean, components, scale = _components(case.prior_pool(s, _POOL))
        z, z0 = (draws - mean) @ components.T / scale, (prior - mean) @ components.T / scale
        parts += _parts(s, z, z0, scale)
        arrays |= {f"{s}/posterior": z[:_KEPT, :2], f"{s}/prior": z0[:_KEPT, :2]}
        arrays[f"{s}/widths"] = np.stack([z.std(0), z0.std(0)])
        report(0.5 + (done + 1) / len(sources) / 2)
    diverged = failed / max(total, 1)
    return conclude("gap", parts, case.checks, diverged, observations=total - failed, draws=1, arrays=arrays)


def _parts(source: str, z: np.ndarray, z0: np.ndarray, scale: np.ndarray) -> list[Question]:
    n = len(z)
    half = min(n, len(z0) // 2)
    weights = scale**2
    size = _distance(z, z0, weights) - _distance(z0[:half], z0[half : 2 * half], weights)
    # folded about the centre of both samples: widths are compared whatever the means are
    centre = np.median(np.concatenate([z, z0]), axis=0)
    p_mean = _mann_whitney(z, z0)
    p_width = _mann_whitney(np.abs(z - centre), np.abs(z0 - centre))
    norm, norm0 = ((u**2).sum(1, keepdims=True) for u in (z, z0))
    p_norm = _mann_whitney(norm, norm0)
    p = np.concatenate([p_mean, p_width, p_norm])
    ratio = float(np.sqrt((weights @ z.var(0)) / (weights @ z0.var(0))))
    p_size = min(1.0, 2 * min(float(p_norm[0]), len(p_width) * float(p_width.min())))
    return [
        Question(source, "distance", max(size, 0.0), 0.0, min(1.0, len(p) * float(p.min())), 0.02, 0.1),
        Question(source, "width", ratio, 1.0, p_size, 0.08, 0.25),
    ]


def _mann_whitney(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy import stats

    return np.asarray(stats.mannwhitneyu(a, b, axis=0, method="asymptotic").pvalue)


def _components(pool: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, leading directions and standard deviations along them."""
    mean = pool.mean(0)
    _, values, rows = np.linalg.svd(pool - mean, full_matrices=False)
    kept = min(_COMPONENTS, int((values > 1e-6 * max(values[0], 1e-300)).sum()) or 1)
    return mean, rows[:kept], np.maximum(values[:kept] / np.sqrt(len(pool)), 1e-300)


def _distance(z: np.ndarray, z0: np.ndarray, weights: np.ndarray) -> float:
    unit = np.sqrt(weights / weights.sum())
    return frechet(z * unit, z0 * unit)


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """The squared Fréchet distance of two samples, `(n, d)` and `(m, d)`, taken as Gaussian (formula above)."""
    S, T = (np.atleast_2d(np.cov(u.T)) for u in (x, y))
    w, V = np.linalg.eigh(S)
    root = (V * np.sqrt(np.maximum(w, 0))) @ V.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ T @ root), 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(S) + np.trace(T) - 2 * cross)
