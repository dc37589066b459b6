r"""PQMass: do two samples put the same mass into the same regions?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from dichroic.metrics.vectors import squared_distances, two_samples

__all__ = ["PQMass", "pqmass", "pqmass_chi_square", "pqmass_p_value"]

TESSELLATIONS = 1000
HELD = 4096  # samples up to which all their distances are held at once


class PQMass(NamedTuple):
    """One number for every tessellation, shape `(tessellations,)`: `chi_square`, its degrees of `freedom`, and the
    `p_value`.
    """

    chi_square: np.ndarray
    freedom: np.ndarray
    p_value: np.ndarray


def pqmass(
    x: ArrayLike, y: ArrayLike, references: int | None = None, tessellations: int = TESSELLATIONS, seed: int = 0
) -> PQMass:
    r"""Chi-square tests of the counts of two samples in common regions (Lemos et al. 2025, ICLR, arXiv 2402.04355).

    The regions are the Voronoi cells of reference points, taken at random from both samples in proportion to their
    sizes and left out of the counts. With counts :math:`k_r`, :math:`l_r` in the :math:`R` cells that are not empty,

    .. math:: \chi^2 = \sum_r \frac{\big(\sqrt{m/n}\, k_r - \sqrt{n/m}\, l_r\big)^2}{k_r + l_r} ,
       \qquad n = \sum_r k_r , \quad m = \sum_r l_r ,

    has :math:`R - 1` degrees of freedom when both samples are of one law, and each p-value is then uniform.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`, independent of `x`: posterior draws beside the truth
    they belong to are closer than that; `references`, how many cells (None: 100 as published, fewer for less than 2000
    samples, so that a cell expects twenty of them); `tessellations`, repetitions with other points.
    """
    x, y = two_samples("pqmass", x, y)
    n, m = len(x), len(y)
    cells = max(2, min(100, (n + m) // 20)) if references is None else references
    from_x = min(max(1, round(cells * n / (n + m))), cells - 1)
    if cells < 2 or from_x >= n or cells - from_x >= m:
        raise ValueError(f"pqmass: expected at least two references, and less than samples, got {cells} of {n} and {m}")
    pool, rng = np.concatenate([x, y]), np.random.default_rng(seed)
    held = squared_distances(pool, pool) if n + m <= HELD else None
    statistic, freedom = np.empty(tessellations), np.empty(tessellations, int)
    for t in range(tessellations):
        own, other = rng.permutation(n), n + rng.permutation(m)
        centres = np.concatenate([own[:from_x], other[: cells - from_x]])
        rest = np.concatenate([own[from_x:], other[cells - from_x :]])
        distances = squared_distances(pool[rest], pool[centres]) if held is None else held[np.ix_(rest, centres)]
        cell = distances.argmin(1)
        k, l = (np.bincount(part, minlength=cells) for part in (cell[: n - from_x], cell[n - from_x :]))  # noqa: E741
        statistic[t], freedom[t] = _chi_square(k, l)
    return PQMass(statistic, freedom, chdtrc(np.maximum(freedom, 1), statistic))


def _chi_square(k: np.ndarray, l: np.ndarray) -> tuple[float, int]:  # noqa: E741
    both = k + l
    ratio = np.sqrt(l.sum() / k.sum())
    return float(((ratio * k - l / ratio) ** 2 / np.maximum(both, 1)).sum()), int((both > 0).sum()) - 1


def pqmass_p_value(x: ArrayLike, y: ArrayLike, references: int | None = None, seed: int = 0) -> float:
    """The mean p-value of :func:`pqmass` over tessellations: 0.5 on average for samples of one law, 0 for samples that
    can be told apart, and near 1 for samples that are closer than independent ones.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`; `references`, `seed` as there.
    """
    return float(pqmass(x, y, references, seed=seed).p_value.mean())


def pqmass_chi_square(x: ArrayLike, y: ArrayLike, references: int | None = None, seed: int = 0) -> float:
    """The mean chi-square of :func:`pqmass` per degree of freedom: 1 on average for samples of one law. It still tells
    bad from worse where the p-value is 0.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`; `references`, `seed` as there.
    """
    found = pqmass(x, y, references, seed=seed)
    return float((found.chi_square / np.maximum(found.freedom, 1)).mean())
