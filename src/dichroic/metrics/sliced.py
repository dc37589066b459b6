r"""Sliced Wasserstein distance."""

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import two_samples

__all__ = ["sliced_wasserstein"]

BLOCK = 64  # projections sorted at once


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, order: float = 2.0, projections: int = 512, seed: int = 0) -> float:
    r"""The Wasserstein distance of one-dimensional projections, averaged over directions,

    .. math:: \mathrm{SW}_p = \Big( \mathrm E_\theta \int_0^1
       \big| F_{\theta^T X}^{-1}(q) - F_{\theta^T Y}^{-1}(q) \big|^p \,\mathrm dq \Big)^{1/p} ,

    with :math:`\theta` uniform on the sphere (Bonneel et al. 2015, J. Math. Imaging Vis. 51, 22). Exact for each
    direction, also for samples of different size; the directions are the same whenever `seed` is.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`; `order`, :math:`p`; `projections`, of directions.
    """
    x, y = two_samples("sliced_wasserstein", x, y)
    theta = np.random.default_rng(seed).standard_normal((x.shape[1], projections))
    theta /= np.linalg.norm(theta, axis=0)
    # both quantile functions are constant between neighbouring levels i / n and j / m
    i, j, weight = _steps(len(x), len(y))
    total = 0.0
    for start in range(0, projections, BLOCK):
        block = theta[:, start : start + BLOCK]
        u, v = np.sort(x @ block, axis=0), np.sort(y @ block, axis=0)
        total += (weight @ np.abs(u[i] - v[j]) ** order).sum()
    return float((total / projections) ** (1 / order))


def _steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    levels = np.union1d(np.arange(n) * m, np.arange(m) * n)  # in units of 1 / (n m): integers, hence exact
    return levels // m, levels // n, np.diff(levels, append=n * m) / (n * m)
