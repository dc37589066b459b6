r"""The noise of a view, in its normal form.

A view may give its noise as a number, an array or an object. Here it becomes a `Noise` (or `PerSample` of one) whose
parameters are finite everywhere, also at entries that were never measured.
"""

from typing import Any

import numpy as np

from dichroic.operators import DenseNoise, DiagonalNoise, Noise, PerSample

__all__ = ["bind_noise", "dense_bytes", "where_observed"]


def bind_noise(noise: Any, observed: np.ndarray | None) -> Any:
    """The normal form of a valid noise.

    **Arguments:** `noise`, a number, an array, a `Noise`, or `PerSample` of one of these; `observed`, shape `(n, ...)`,
    what was measured, None for everything.
    """
    per_sample = isinstance(noise, PerSample)
    inner = noise.value if isinstance(noise, PerSample) else noise
    if isinstance(inner, DenseNoise):
        bound = None if observed is None else _bind_dense(inner, per_sample, observed)
        return noise if bound is None else bound
    if isinstance(inner, Noise) and not isinstance(inner, DiagonalNoise):
        return noise
    std = np.asarray(inner.std if isinstance(inner, DiagonalNoise) else inner)
    if not np.issubdtype(std.dtype, np.floating):
        std = std.astype(float)
    if observed is not None and std.ndim > per_sample:
        # missing entries take part in the products before they are masked, and 0 / NaN is not 0
        std = np.where(where_observed(observed, per_sample), std, np.ones((), std.dtype))
    if per_sample:
        return PerSample(DiagonalNoise(std))
    return DiagonalNoise(std.astype(float) if std.ndim else float(std))


def where_observed(observed: np.ndarray, per_sample: bool) -> np.ndarray:
    """Where the noise matters: per sample, or, for noise that all samples share, where any of them was measured."""
    return observed if per_sample else np.asarray(observed.any(0))


def dense_bytes(noise: DenseNoise, per_sample: bool, observed: np.ndarray) -> int:
    """Memory that correlated noise takes once missing entries are decoupled from it."""
    masks = observed.reshape(len(observed), -1)
    copies = len(masks) if per_sample or (masks != masks[0]).any() else 1
    return 2 * 8 * copies * masks.shape[1] ** 2


def _bind_dense(noise: DenseNoise, per_sample: bool, observed: np.ndarray) -> Any:
    """With missing entries decoupled; None when they are already, since binding twice must not change a bit."""
    factor = np.asarray(noise.factor)
    masks = observed.reshape(len(observed), -1)
    if not per_sample and not (masks != masks[0]).any():
        masks = masks[0]
    elif not per_sample:
        factor = np.broadcast_to(factor, (len(masks), *factor.shape))
    if _decoupled(factor, masks):
        return None
    covariance = factor @ factor.swapaxes(-1, -2)
    bound = DenseNoise.from_covariance(covariance, masks)
    return PerSample(bound) if masks.ndim == 2 else bound


def _decoupled(factor: np.ndarray, observed: np.ndarray) -> bool:
    """Whether every missing entry has a unit pivot of its own."""
    unit = np.eye(factor.shape[-1], dtype=factor.dtype)
    touched = ~(observed[..., :, None] & observed[..., None, :])
    return bool((np.where(touched, factor, unit) == unit).all())
