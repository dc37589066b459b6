r"""Peak signal-to-noise ratio, for estimates paired with their truth."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["psnr", "psnr_per_sample"]

GUARD = 1e-6  # of the peak, added to the root-mean-square error: a perfect estimate has a finite value in any unit


def psnr_per_sample(x: ArrayLike, truth: ArrayLike, peak: float = 1.0) -> np.ndarray:
    r"""PSNR of every sample, in dB,

    .. math:: 20 \log_{10} R - 20 \log_{10}\Big(\sqrt{\tfrac1d \lVert \hat x_i - x_i \rVert^2} + 10^{-6} R\Big) ,

    the definition of DDPRISM (Wagner-Carena et al. 2025, arXiv 2510.05205), which has 1e-6 without the peak.

    **Arguments:** `x`, `truth`, shape `(n, ...)`, real or complex; `peak`, the dynamic range :math:`R`: 1 for images in
    [0, 1], 4 for the random manifolds in [-2, 2].

    **Returns** shape `(n,)`.
    """
    x, truth = np.asarray(x), np.asarray(truth)
    if x.shape != truth.shape or x.ndim < 1:
        raise ValueError(
            f"psnr: expected samples and truth of the same shape (n, ...), got {x.shape} and {truth.shape}"
        )
    kind = np.result_type(x, truth, np.float64)
    error = (x.astype(kind) - truth.astype(kind)).reshape(len(x), -1)
    return 20 * np.log10(peak) - 20 * np.log10(np.sqrt(np.mean(np.abs(error) ** 2, axis=1)) + GUARD * peak)


def psnr(x: ArrayLike, truth: ArrayLike, peak: float = 1.0) -> float:
    """The mean over samples of :func:`psnr_per_sample`, in dB.

    >>> import numpy as np
    >>> round(psnr(np.full((2, 3), 0.1), np.zeros((2, 3))), 3)
    20.0
    """
    return float(psnr_per_sample(x, truth, peak).mean())
