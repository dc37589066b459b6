"""Symbols of OFDM whose windows begin anywhere: what samples of a prior, drawn or learned, are made of."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex, Int

from dichroic.diffusion import WIFI

__all__ = ["demodulated"]


def demodulated(
    x: Complex[np.ndarray, "n t"], fft: int = 64, prefix: int = 16, active: Sequence[int] = WIFI
) -> tuple[Complex[np.ndarray, "n blocks carriers"], Int[np.ndarray, " n"]]:
    """The carriers of all whole blocks of every sample, by the one of all beginnings that leaves the least power on
    carriers without letters and that repeats the prefix best. Those of a sample of unknown phase are turned by it.

    **Returns:** the carriers, those of `active` in their order and then the empty ones, and where blocks begin.
    """
    size, n, t = fft + prefix, *x.shape
    blocks = (t - size + 1) // size
    order = [a % fft for a in active] + [a for a in range(fft) if a not in {b % fft for b in active}]
    misfit, grids = np.empty((n, size)), np.empty((size, n, blocks, fft), complex)
    for begin in range(size):
        cut = x[:, begin : begin + blocks * size].reshape(n, blocks, size)
        grids[begin] = np.fft.fft(cut[..., prefix:], norm="ortho")[..., order]
        repeated = np.abs(cut[..., :prefix] - cut[..., fft:]) ** 2
        empty = np.abs(grids[begin, ..., len(active) :]) ** 2
        misfit[:, begin] = repeated.sum((1, 2)) + empty.sum((1, 2))
    best = misfit.argmin(1)
    return grids[best, np.arange(n)], best
