"""Samples as the rows of a matrix, and distances between them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["distance_blocks", "paired_samples", "squared_distances", "two_samples"]

BLOCK = 2048  # rows of the distance matrix that are held at once


def two_samples(name: str, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as 64-bit vectors, shapes `(n, d)` and `(m, d)`; a complex number counts as its two parts."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape[1:] != y.shape[1:] or min(x.ndim, y.ndim) < 1:
        raise ValueError(
            f"{name}: expected samples of the same shape, (n, ...) and (m, ...), got {x.shape} and {y.shape}"
        )
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{name}: expected at least two samples in each set, got {len(x)} and {len(y)}")
    return _vectors(x), _vectors(y)


def paired_samples(name: str, x: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and their truth as 64-bit vectors, both of shape `(n, d)`; a complex number counts as its two parts."""
    x, truth = np.asarray(x), np.asarray(truth)
    if x.shape != truth.shape or x.ndim < 1 or not len(x):
        raise ValueError(
            f"{name}: expected samples and truth of the same shape (n, ...), got {x.shape} and {truth.shape}"
        )
    if np.iscomplexobj(x) != np.iscomplexobj(truth):
        x, truth = x + 0j, truth + 0j
    return _vectors(x), _vectors(truth)


def _vectors(x: np.ndarray) -> np.ndarray:
    x = np.stack([np.real(x), np.imag(x)], axis=-1) if np.iscomplexobj(x) else x
    return x.reshape(len(x), -1).astype(np.float64)


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All squared Euclidean distances, shape `(n, m)`."""
    centre = y.mean(0)  # near the origin fewer digits cancel
    x, y = x - centre, y - centre
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)


def distance_blocks(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """The Euclidean distances, a block of rows at a time."""
    for start in range(0, len(x), BLOCK):
        yield np.sqrt(squared_distances(x[start : start + BLOCK], y))
