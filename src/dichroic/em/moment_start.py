r"""Where Gaussian EM begins: the populations whose moments are closest to those of the data.

The moments of groups of observations that share their operators add up,

.. math:: \mathrm E[y_g] = \sum_s A_{gs} \mu_s, \qquad
    \mathrm{Cov}[y_g] - N_g = \sum_s A_{gs} S_s A_{gs}^\top ,

two linear systems, whose weighted least-squares solutions are found by conjugate gradients. They make no use of what is
likely, but EM, which approaches weak sources under strong ones at a crawl, has hundreds of laps less to go from there.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dichroic.em.population import Population

__all__ = ["moment_start"]

_ITERATIONS, _ACCURACY = 50, 1e-3
_FLOOR = 0.01  # of the mean variance: EM never leaves a variance of zero

Blocks = dict[str, np.ndarray]


def moment_start(
    groups: Sequence[tuple[Mapping[str, np.ndarray], int, np.ndarray, np.ndarray]],
    sizes: Mapping[str, int],
    fixed: Mapping[str, Population],
) -> dict[str, Population]:
    """Populations of the sources in `sizes` that are not `fixed`.

    **Arguments:** `groups`, each with its matrices by source `{s: (m, d)}`, the number of its observations, and their
    sums of values `(m,)` and of products of values `(m, m)`, in units in which the noise is white; unobserved values
    are zero.
    """
    free = [s for s in sizes if s not in fixed]
    groups = [group for group in groups if any(s in free for s in group[0])]
    means, weights = [], []
    for A, n, total, second in groups:
        power = float(second.trace()) / n / max(int((second.diagonal() > 0).sum()), 1)
        weights.append(n / max(power, 1e-300) ** 2)
        means.append(total / n - sum(A[s] @ fixed[s].mean for s in A if s in fixed))
    parts = [{s: A[s] for s in A if s in free} for A, *_ in groups]

    def pull(residuals: Sequence[np.ndarray], back: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Blocks:
        out: Blocks = {}
        for A, weight, residual in zip(parts, weights, residuals, strict=True):
            for s, matrix in A.items():
                out[s] = out.get(s, 0) + weight * back(matrix, residual)
        return out

    def first(x: Blocks) -> Blocks:
        return pull([sum(A[s] @ x[s] for s in A) for A in parts], lambda A, r: A.T @ r)  # pyright: ignore

    def second_order(x: Blocks) -> Blocks:
        return pull([sum(A[s] @ x[s] @ A[s].T for s in A) for A in parts], lambda A, r: A.T @ r @ A)  # pyright: ignore

    mu = _least_squares(first, pull(means, lambda A, r: A.T @ r))
    covariances = []
    for A, n, total, second in groups:
        # about the mean of the populations, not that of the group, which may have a single observation
        mean = sum(A[s] @ (fixed[s].mean if s in fixed else mu[s]) for s in A)
        cross = np.outer(total / n, mean)
        excess = second / n - cross - cross.T + np.outer(mean, mean) - np.diag((second.diagonal() > 0).astype(float))
        covariances.append(excess - sum(A[s] @ fixed[s].covariance() @ A[s].T for s in A if s in fixed))
    S = _least_squares(second_order, pull(covariances, lambda A, r: A.T @ r @ A))
    return {s: _population(mu[s], S[s]) for s in free if s in mu}


def _population(mean: np.ndarray, S: np.ndarray) -> Population:
    values, basis = np.linalg.eigh((S + S.T) / 2)
    least = _FLOOR * max(float(np.maximum(values, 0).mean()), 1e-12)
    return Population(mean, basis[:, ::-1], np.maximum(values[::-1], least), 0.0)


def _least_squares(normal: Callable[[Blocks], Blocks], right: Blocks) -> Blocks:
    """Conjugate gradients on the normal equations, from zero: what the data do not determine stays zero."""
    x = {s: np.zeros_like(b) for s, b in right.items()}
    r, p = right, right
    norm = start = _dot(r, r)
    for _ in range(_ITERATIONS):
        if norm <= _ACCURACY**2 * start or norm == 0:
            break
        q = normal(p)
        step = norm / max(_dot(p, q), 1e-300)
        x = {s: x[s] + step * p[s] for s in x}
        r = {s: r[s] - step * q[s] for s in x}
        norm, before = _dot(r, r), norm
        p = {s: r[s] + norm / before * p[s] for s in x}
    return x


def _dot(a: Blocks, b: Blocks) -> float:
    return sum(float(np.vdot(a[s], b[s])) for s in a)
