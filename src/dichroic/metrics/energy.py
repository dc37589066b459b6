r"""Energy distance."""

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import distance_blocks, two_samples

__all__ = ["energy_distance"]


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    r"""The energy distance of two laws, estimated without bias from samples,

    .. math:: 2\, \mathrm E \lVert X - Y \rVert - \mathrm E \lVert X - X' \rVert - \mathrm E \lVert Y - Y' \rVert ,

    zero only for equal laws (Székely and Rizzo 2013, J. Stat. Plan. Inference 143, 1249, eq. 1; some call its root by
    this name). The last two means leave out the pairs of a sample with itself, so that the estimate is centred on
    the truth at any sample size, and can be slightly negative when the laws are equal.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`. Time grows as `(n + m)**2`, memory as `n + m`.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> energy_distance(x[:250], x[250:] + 1) > 10 * abs(energy_distance(x[:250], x[250:]))
    True
    """
    x, y = two_samples("energy_distance", x, y)
    n, m = len(x), len(y)
    between = _total(x, y) / (n * m)
    return 2 * between - _within(x) / (n * (n - 1)) - _within(y) / (m * (m - 1))


def _total(x: np.ndarray, y: np.ndarray) -> float:
    return float(sum(block.sum() for block in distance_blocks(x, y)))


def _within(x: np.ndarray) -> float:
    # rounding leaves the distance of a sample to itself near 1e-8 instead of 0, which is far below the total
    return _total(x, x)
