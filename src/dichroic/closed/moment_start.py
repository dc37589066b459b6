r"""Where Gaussian EM begins: the populations whose moments are closest to those of the data.

The moments of groups of observations that share their operators add up,

.. math:: \mathrm E[y_g] = \sum_s A_{gs} \mu_s, \qquad
    \mathrm{Cov}[y_g] - N_g = \sum_s A_{gs} S_s A_{gs}^\top ,

two linear systems, whose weighted least-squares solutions are found by conjugate gradients. They make no use of what is
likely, but EM, which approaches weak sources under strong ones at a crawl, has hundreds of laps less to go from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dichroic.algebra import Gaussian

__all__ = ["FLOOR", "Moments", "moment_start"]

ITERATIONS, ACCURACY = 50, 1e-3
FLOOR = 0.01  # of the mean variance: EM never leaves a variance of zero

Blocks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Moments:
    r"""Weighted moments of observations :math:`y_i = \sum_s A_s x_{is} + n_i` behind the same operators.

    With :math:`g_i` the inverse variances of the noise of its values, zero where they are missing: `weights`,
    :math:`\overline{g}`; `first`, :math:`\overline{g y}`; `pairs`, :math:`\overline{g g^\top}`; `crossed`,
    :math:`\overline{(g y) g^\top}`; `second`, :math:`\overline{(g y) (g y)^\top}` less what the noise adds to it,
    the bars being sums over observations, each with a weight of its own.
    """

    A: Mapping[str, Float[np.ndarray, "m d"]]
    weights: Float[np.ndarray, " m"]
    first: Float[np.ndarray, " m"]
    pairs: Float[np.ndarray, "m m"]
    crossed: Float[np.ndarray, "m m"]
    second: Float[np.ndarray, "m m"]

    @classmethod
    def of_group(cls, A: Mapping[str, np.ndarray], n: int, total: np.ndarray, second: np.ndarray) -> "Moments":
        """Of `n` observations that share their noise and mask as well, from sums of their values and of products.

        All in units in which the noise is white; unobserved values are zero. Weights are those of products of values
        of that size, which noise alone gives a variance of one; exact zeros are no measure of it, and weigh nothing.
        """
        seen = second.diagonal() > 0
        power = float(second.trace()) / n / max(int(seen.sum()), 1)
        weight, one = n * (power > 0) / max(power, 1) ** 2, np.ones(len(total))
        mean = weight * total / n
        return cls(
            A,
            weight * one,
            mean,
            np.full(second.shape, weight),
            np.outer(mean, one),
            weight * (second / n - np.diag(seen.astype(float))),
        )


def moment_start(
    groups: Sequence[Moments],
    sizes: Mapping[str, int],
    fixed: Mapping[str, Gaussian],
) -> dict[str, Gaussian]:
    """Populations of the sources in `sizes` that are not `fixed`.

    **Arguments:** `groups`, the moments of observations behind the same operators.
    """
    free = [s for s in sizes if s not in fixed]
    groups = [group for group in groups if any(s in free for s in group.A)]
    parts = [{s: A for s, A in group.A.items() if s in free} for group in groups]

    def pull(residuals: Sequence[np.ndarray], back: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Blocks:
        out: Blocks = {}
        for A, residual in zip(parts, residuals, strict=True):
            for s, matrix in A.items():
                out[s] = out.get(s, 0) + back(matrix, residual)
        return out

    def first(x: Blocks) -> Blocks:
        mixed = [sum(A[s] @ x[s] for s in A) for A in parts]
        return pull([g.weights * y for g, y in zip(groups, mixed, strict=True)], lambda A, r: A.T @ r)  # pyright: ignore

    def second_order(x: Blocks) -> Blocks:
        mixed = [sum(A[s] @ x[s] @ A[s].T for s in A) for A in parts]
        return pull([g.pairs * C for g, C in zip(groups, mixed, strict=True)], lambda A, r: A.T @ r @ A)  # pyright: ignore

    left = [g.first - g.weights * sum(A @ fixed[s].mean for s, A in g.A.items() if s in fixed) for g in groups]
    mu = _least_squares(first, pull(left, lambda A, r: A.T @ r))
    covariances = []
    for g in groups:
        # about the mean of the populations, not that of the group, which may have a single observation
        mean = np.sum([A @ (fixed[s].mean if s in fixed else mu[s]) for s, A in g.A.items()], axis=0)
        cross = g.crossed * mean
        known = sum(A @ fixed[s].covariance() @ A.T for s, A in g.A.items() if s in fixed)
        covariances.append(g.second - cross - cross.T + g.pairs * (np.outer(mean, mean) - known))
    S = _least_squares(second_order, pull(covariances, lambda A, r: A.T @ r @ A))
    return {s: _population(mu[s], S[s]) for s in free if s in mu}


def _population(mean: np.ndarray, S: np.ndarray) -> Gaussian:
    values, basis = np.linalg.eigh((S + S.T) / 2)
    least = FLOOR * (float(np.maximum(values, 0).mean()) or 1.0)  # of no variance at all, that of its unit
    return Gaussian(mean, basis[:, ::-1], np.maximum(values[::-1], least), 0.0)


def _least_squares(normal: Callable[[Blocks], Blocks], right: Blocks) -> Blocks:
    """Conjugate gradients on the normal equations, from zero: what the data do not determine stays zero."""
    x = {s: np.zeros_like(b) for s, b in right.items()}
    r, p = right, right
    norm = start = _dot(r, r)
    for _ in range(ITERATIONS):
        if norm <= ACCURACY**2 * start or norm == 0:
            break
        q = normal(p)
        step = norm / max(_dot(p, q), 1e-300)
        x = {s: x[s] + step * p[s] for s in x}
        r = {s: r[s] - step * q[s] for s in x}
        norm, before = _dot(r, r), norm
        p = {s: r[s] + norm / before * p[s] for s in x}
    return x


def _dot(a: Blocks, b: Blocks) -> float:
    return sum((float(np.vdot(a[s], b[s])) for s in a), 0.0)
