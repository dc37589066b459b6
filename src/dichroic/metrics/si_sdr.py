r"""Scale-invariant signal-to-distortion ratio, for estimates paired with their truth."""

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import paired_samples

__all__ = ["si_sdr", "si_sdr_per_sample"]

LIMIT = 150.0  # dB, of either sign: beyond it rounding is all there is


def si_sdr_per_sample(x: ArrayLike, truth: ArrayLike, centre: bool = False) -> np.ndarray:
    r"""SI-SDR of every sample, in dB,

    .. math:: 10 \log_{10} \frac{\lVert \alpha_i x_i \rVert^2}{\lVert \alpha_i x_i - \hat x_i \rVert^2} , \qquad
       \alpha_i = \frac{\hat x_i^\top x_i}{\lVert x_i \rVert^2}

    (Le Roux et al. 2019, ICASSP, arXiv 1811.02508, eq. 5): the size of the estimate does not count, its sign neither.
    For sources whose amplitude cannot be known. A complex number counts as its two parts, so that its phase does count.

    **Arguments:** `x`, `truth`, shape `(n, ...)`; `centre`, whether to take the mean out of every sample first, as is
    usual for sound.

    **Returns** shape `(n,)`, within -150 and 150: a perfect estimate has the latter, one that is orthogonal to the
    truth, or zero, the former.

    **Raises:** `ValueError` where a truth is zero, for which the ratio means nothing.
    """
    estimate, source = paired_samples("si_sdr", x, truth)
    if centre:
        estimate, source = (z - z.mean(1, keepdims=True) for z in (estimate, source))
    power = (source**2).sum(1)
    if (power == 0).any():
        raise ValueError(f"si_sdr: the truth of sample {np.flatnonzero(power == 0)[0]} is zero (or constant)")
    target = ((estimate * source).sum(1) / power)[:, None] * source
    signal, distortion = (target**2).sum(1), ((estimate - target) ** 2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(signal > 0, 10 * (np.log10(signal) - np.log10(distortion)), -LIMIT)
    return np.clip(ratio, -LIMIT, LIMIT)


def si_sdr(x: ArrayLike, truth: ArrayLike, centre: bool = False) -> float:
    """The mean over samples of :func:`si_sdr_per_sample`, in dB.

    >>> import numpy as np
    >>> truth = np.array([[1.0, 0.0]])
    >>> round(si_sdr(7 * np.array([[1.0, 0.1]]), truth), 3)
    20.0
    """
    return float(si_sdr_per_sample(x, truth, centre).mean())
