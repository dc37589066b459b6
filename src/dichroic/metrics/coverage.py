r"""Coverage: how often a central interval of posterior draws holds the truth."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = ["coverage", "coverage_per_sample", "draws_for"]

_SAME = 1e-6  # of the largest truth: what draws cut off at a bound may be off that by


def draws_for(share: float) -> int:
    """The fewest draws that an interval of such a share can be had of: 3 for a half, 19 for 0.9."""
    return int(np.ceil(2 / (1 - share) - 1e-9)) - 1


def coverage_per_sample(draws: ArrayLike, truth: ArrayLike, share: float) -> Float[np.ndarray, " n"]:
    r"""The part of a sample's entries whose truth lies in the central interval of a share :math:`p` of its draws.

    With `L` draws, `a` below the truth and `b` equal to it, the truth's rank is uniform on an interval,

    .. math:: u \sim \mathcal U\Big(\frac{a}{L + 1}, \frac{a + b + 1}{L + 1}\Big) , \qquad
        c = \Pr\big(|u - \tfrac12| \le \tfrac p2\big) ,

    and `p` is the mean of `c` exactly where draws and truth are of the same law, whatever the number of draws (the
    ranks of Talts et al. 2018, arXiv 1804.06788). Entries whose draws are all the same, as at a bound, say nothing of
    widths and are left out.

    **Arguments:** `draws`, shape `(n, L, ...)`; `truth`, shape `(n, ...)`.

    **Returns** shape `(n,)`, NaN where no entry is left.

    **Raises:** `ValueError` for fewer draws than `draws_for(share)`.
    """
    x, t = np.asarray(draws, float), np.asarray(truth, float)
    n, L = x.shape[:2]
    if draws_for(share) > L:
        raise ValueError(f"coverage: an interval of {share:g} needs {draws_for(share)} draws; got {L}")
    x, t = x.reshape(n, L, -1), t.reshape(n, 1, -1)
    same = _SAME * float(np.abs(t).max(initial=0))
    below, equal = (x < t - same).sum(1), (np.abs(x - t) <= same).sum(1)
    low, high = below / (L + 1), (below + equal + 1) / (L + 1)
    inside = np.minimum(high, (1 + share) / 2) - np.maximum(low, (1 - share) / 2)
    c = np.maximum(inside, 0) / (high - low)
    varies = np.ptp(x, axis=1) > same
    return np.divide((c * varies).sum(1), varies.sum(1), out=np.full(n, np.nan), where=varies.any(1))


def coverage(draws: ArrayLike, truth: ArrayLike, share: float) -> float:
    """The mean over samples of :func:`coverage_per_sample`.

    >>> import numpy as np
    >>> draws = np.tile(np.linspace(-1, 1, 19), (2, 1))[:, :, None]
    >>> coverage(draws, np.array([[0.0], [2.0]]), 0.9)
    0.5
    """
    return float(np.nanmean(coverage_per_sample(draws, truth, share)))
