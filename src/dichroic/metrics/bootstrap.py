"""How sure a mean over samples is."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Interval", "bootstrap"]


class Interval(NamedTuple):
    """An estimate and the bounds of its interval."""

    low: float
    estimate: float
    high: float


def bootstrap(values: ArrayLike, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of per-sample values with its percentile interval.

    The values are such as :func:`~dichroic.metrics.psnr.psnr_per_sample` returns. The bounds are the quantiles of the
    means of samples drawn with replacement (Efron 1979). Values that share a source, say the same digit over several
    backgrounds, are not independent: average them first.

    **Arguments:** `values`, shape `(n,)`; `level`, the probability that the interval is to cover the true mean.

    >>> bootstrap([1.0, 1.0, 1.0])
    Interval(low=1.0, estimate=1.0, high=1.0)
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"bootstrap: expected one value per sample, shape (n,), got shape {values.shape}")
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(values.mean()), float(high))
