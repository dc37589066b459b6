r"""Sums over observations that share operators, with noise and masks of their own, for sources of one Gaussian.

With :math:`A_i = D_i A`, :math:`D_i` diagonal and zero where nothing is observed, and :math:`Q = A S A^\top`, all that
differs between observations is of the size of the data, and sums of it are enough: of

.. math:: P_i = D_i (I + D_i Q D_i)^{-1} D_i , \qquad \alpha_i = P_i D_i^{-1} (y_i - A_i \mu) , \qquad
    \mathrm E[u \mid y_i] = \mu + S A^\top \alpha_i , \qquad \mathrm{Cov}[u \mid y_i] = S - S A^\top P_i A S .

Data are in units of the most accurate noise of each value, so that :math:`D_i \le 1`. An observation then costs a
system of its observed values, or, where fewer of them are less accurate than the best (`J`, missing ones included),
of those alone: with :math:`K = (I + Q)^{-1}` and :math:`\Delta_i = D_i^{-2} - I`,

.. math:: P_i = K - K_{\cdot J} \big(\Delta_{i,J}^{-1} + K_{JJ}\big)^{-1} K_{J \cdot} .
"""

from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
from jaxtyping import Float

from dichroic.white.parallel import dense_side_by_side

__all__ = ["cholesky", "potri", "potrs", "sums_of_alike", "symmetric"]

potrf, potri, potrs = scipy.linalg.get_lapack_funcs(("potrf", "potri", "potrs"), dtype=np.float64)

CONDITION = 1e8  # of the common system, above which taking values from it costs too many digits
_JOBS = 4  # shares of a view that are worked on side by side
_ROWS = 512  # observations of a share whose residuals are in memory together


@dataclass
class _Sums:
    """Over some observations: of `P`, by those solved by themselves and by what others take from `K`; of means."""

    alone: Float[np.ndarray, "m m"]
    taken: Float[np.ndarray, "m m"]
    alpha: Float[np.ndarray, " m"]
    squares: Float[np.ndarray, "m m"]
    takers: int = 0

    @classmethod
    def zero(cls, m: int) -> "_Sums":
        return cls(np.zeros((m, m)), np.zeros((m, m)), np.zeros(m), np.zeros((m, m)))

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*[getattr(self, f.name) + getattr(other, f.name) for f in fields(self)])


def sums_of_alike(
    D: Float[np.ndarray, "n m"],
    y: Float[np.ndarray, "n m"],
    Q: Float[np.ndarray, "m m"],
    mean: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    r"""All that differs between observations, summed.

    **Arguments:** `D`, at most 1, zero where nothing is observed; `y`, white data; `Q`; `mean`, :math:`A \mu`.

    **Returns:** log-likelihoods; sums of :math:`\alpha_i` and of :math:`\alpha_i \alpha_i^\top - P_i`.
    """
    n, m = y.shape
    L = scipy.linalg.cholesky(np.eye(m) + Q, lower=True, check_finite=False)
    K = symmetric(potri(L, lower=1)[0])
    log_likelihood, half_log_det = -0.5 * np.log(2 * np.pi) * (D > 0).sum(1), np.log(np.diag(L)).sum()

    def job(number: int) -> _Sums:
        rows = np.array_split(np.arange(n), _JOBS)[number]
        sums = _Sums.zero(m)
        for begin in range(0, len(rows), _ROWS):
            some = rows[begin : begin + _ROWS]
            log_likelihood[some] += _add(sums, D[some], y[some], Q, K, mean, half_log_det)
        return sums

    # added up in the order of the shares: sums must not depend on which thread was first
    parts = dict(dense_side_by_side(job, range(_JOBS)))
    total = sum((parts[number] for number in range(_JOBS)), _Sums.zero(m))
    P = symmetric(total.alone) + total.takers * K - K @ symmetric(total.taken) @ K
    return log_likelihood, total.alpha, total.squares - P


def _add(
    sums: _Sums, D: np.ndarray, y: np.ndarray, Q: np.ndarray, K: np.ndarray, mean: np.ndarray, half_log_det: float
) -> Float[np.ndarray, " k"]:
    """Adds some observations to the sums; their log-likelihoods, but for the factors of two pi."""
    # residuals in units of the most accurate noise; those of missing values have no effect and are zero
    r = np.divide(y, D, out=np.zeros_like(y), where=D > 0) - mean * (D > 0)
    differing = D < 1
    taking = (differing.sum(1) < (D > 0).sum(1)) & (len(Q) + np.trace(Q) < CONDITION)
    Kr = r @ K
    alpha, taken, log_dets = np.zeros_like(y), np.zeros_like(y), np.where(taking, 2 * half_log_det, 0)
    for i in range(len(y)):
        J = np.flatnonzero(differing[i] if taking[i] else D[i] > 0)
        w = D[i, J]
        if taking[i]:
            G = K[np.ix_(J, J)]
            G[np.diag_indices(len(J))] += w**2 / (1 - w**2)
            taken[i, J], inverse, log_det = _solve(G, Kr[i, J])
            sums.taken[np.ix_(J, J)] += inverse
            log_det += np.log1p(-(w[w > 0] ** 2)).sum()
        else:
            solved, inverse, log_det = _solve(_system(Q, J, w), w * r[i, J])
            alpha[i, J] = w * solved
            sums.alone[np.ix_(J, J)] += w[:, None] * inverse * w
        log_dets[i] += log_det
    alpha[taking] = (Kr - taken @ K)[taking]
    sums.takers += int(taking.sum())
    sums.alpha += alpha.sum(0)
    sums.squares += alpha.T @ alpha
    return -0.5 * (log_dets + (r * alpha).sum(1))


def _system(Q: np.ndarray, J: np.ndarray, w: np.ndarray) -> Float[np.ndarray, "k k"]:
    """Covariance of the white data of one observation, of which the values `J` are observed."""
    C = Q[np.ix_(J, J)] if len(J) < len(Q) else Q.copy()
    C *= w
    C *= w[:, None]
    C[np.diag_indices(len(J))] += 1
    return C


def _solve(C: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Solution, inverse (its lower triangle) and log-determinant."""
    if not len(b):
        return b, C, 0.0
    L = cholesky(C)
    log_det = 2 * np.log(np.diag(L)).sum()
    x = potrs(L, b, lower=1)[0]
    return x, potri(L, lower=1, overwrite_c=1)[0], float(log_det)


def cholesky(C: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor; what is above the diagonal is not cleared."""
    # symmetric: its transpose, which is in LAPACK's order, is factorised in place
    L, info = potrf(C.T, lower=1, clean=0, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(f"a covariance of data is not positive definite (LAPACK's dpotrf said {info})")
    return L


def symmetric(lower: np.ndarray) -> np.ndarray:
    """The symmetric matrix with this lower triangle."""
    return np.tril(lower) + np.tril(lower, -1).T
