r"""Fréchet distance: two samples compared by their means and covariances."""

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import two_samples

__all__ = ["frechet_distance", "frechet_distance_mean_only"]


def frechet_distance(x: ArrayLike, y: ArrayLike, mean_only: bool = False) -> float:
    r"""The squared Wasserstein distance of the Gaussians with the moments of two samples of features,

    .. math:: \lVert m_x - m_y \rVert^2 + \mathrm{tr}\big(S_x + S_y - 2 (S_x S_y)^{1/2}\big)

    (Dowson and Landau 1982; of a classifier's features this is the FID, Heusel et al. 2017, arXiv 1706.08500). Features
    of digits come from :class:`~dichroic.metrics.digit_features.DigitFeatures`; without any, images are compared by
    their pixels. Too few samples make it larger, even for equal laws: say how many there were, and compare what had
    equally many.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`; `mean_only`, whether to take the first term alone: this
    compares with the column "FID" that DDPRISM publishes (arXiv 2510.05205), whose program takes the covariance of one
    sample for both. It does not see a wrong spread.
    """
    x, y = two_samples("frechet_distance", x, y)
    means = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    if mean_only:
        return means
    S_x, S_y = (np.atleast_2d(np.cov(z.T)) for z in (x, y))
    # tr (S_x S_y)^1/2 is the sum of the singular values of the product of the roots, also where these are singular
    shared = np.linalg.svd(_root(S_x) @ _root(S_y), compute_uv=False).sum()
    return means + max(float(np.trace(S_x) + np.trace(S_y) - 2 * shared), 0.0)


def frechet_distance_mean_only(x: ArrayLike, y: ArrayLike) -> float:
    """:func:`frechet_distance` with `mean_only`, for comparison with a published column; shapes as there."""
    return frechet_distance(x, y, mean_only=True)


def _root(S: np.ndarray) -> np.ndarray:
    w, Q = np.linalg.eigh(S)
    return (Q * np.sqrt(np.maximum(w, 0))) @ Q.T
