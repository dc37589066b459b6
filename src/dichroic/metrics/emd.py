r"""Earth mover's distance."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from dichroic.metrics.vectors import squared_distances, two_samples

__all__ = ["emd"]


def emd(x: ArrayLike, y: ArrayLike, order: float = 1.0) -> float:
    r"""The earth mover's or Wasserstein distance between two samples, exact,

    .. math:: W_p = \Big( \min_{P \ge 0} \sum_{ij} P_{ij} \lVert x_i - y_j \rVert^p \Big)^{1/p} , \qquad
       \sum_j P_{ij} = \tfrac1n , \quad \sum_i P_{ij} = \tfrac1m ,

    by network simplex (Bonneel et al. 2011; POT, Flamary et al. 2021). In high dimension two samples of the same law
    are far apart by this measure: compare with the value for two sets of true samples.

    **Arguments:** `x`, shape `(n, ...)`; `y`, shape `(m, ...)`; `order`, :math:`p`. Some thousand samples take minutes.

    **Raises:** `ImportError` when the package POT is missing; `RuntimeError` when the solver does not finish.
    """
    try:
        import ot
    except ImportError as error:
        raise ImportError("the earth mover's distance needs the package POT: pip install pot") from error
    x, y = two_samples("emd", x, y)
    cost = squared_distances(x, y) ** (order / 2)
    weights = [np.full(len(z), 1 / len(z)) for z in (x, y)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the log says the same, and is checked
        total, log = ot.emd2(weights[0], weights[1], cost, numItermax=10_000_000, log=True)
    if log["warning"]:
        raise RuntimeError(f"emd: {log['warning']}")
    return float(total ** (1 / order))
