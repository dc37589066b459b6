r"""Flux bias: is the total of a source right on average? For estimates paired with their truth."""

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import paired_samples

__all__ = ["flux_bias", "flux_bias_per_sample"]


def flux_bias_per_sample(x: ArrayLike, truth: ArrayLike) -> np.ndarray:
    r"""The error of every sample's total :math:`F` over the mean size of the true totals,

    .. math:: b_i = \frac{F(\hat x_i) - F(x_i)}{\frac1n \sum_j |F(x_j)|} , \qquad F(x) = \sum_k x_k .

    The mean size, not each its own: totals near zero would decide everything. A complex number counts as its two parts.

    **Arguments:** `x`, `truth`, shape `(n, ...)`.

    **Returns** shape `(n,)`; positive where the estimate is too bright.

    **Raises:** `ValueError` where all true totals are zero.
    """
    estimate, source = (z.sum(1) for z in paired_samples("flux_bias", x, truth))
    size = np.abs(source).mean()
    if size == 0:
        raise ValueError("flux_bias: the total of every truth is zero")
    return (estimate - source) / size


def flux_bias(x: ArrayLike, truth: ArrayLike) -> float:
    """The mean over samples of :func:`flux_bias_per_sample`, with its sign: 0.02 is two percent too bright.

    >>> import numpy as np
    >>> truth = np.array([[1.0, 1.0], [2.0, 4.0]])
    >>> round(flux_bias(1.1 * truth, truth), 3)
    0.1
    """
    return float(flux_bias_per_sample(x, truth).mean())
