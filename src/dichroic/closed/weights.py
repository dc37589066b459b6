r"""Gaussian sources behind operators that all observations share, where noise and mask are each observation's own.

With :math:`A_i = D_i A`, :math:`D_i` diagonal and zero where nothing is observed, and :math:`Q = A S A^\top`, all that
differs between observations is of the size of the data, and sums of it are enough: of

.. math:: P_i = D_i (I + D_i Q D_i)^{-1} D_i , \qquad \alpha_i = P_i D_i^{-1} (y_i - A_i \mu) , \qquad
    \mathrm E[u \mid y_i] = \mu + S A^\top \alpha_i , \qquad \mathrm{Cov}[u \mid y_i] = S - S A^\top P_i A S .

Data are in units of the most accurate noise of each value, so that :math:`D_i \le 1`. An observation then costs a
system of its observed values, or, where fewer of them are less accurate than the best (`J`, missing ones included),
of those alone: with :math:`K = (I + Q)^{-1}` and :math:`\Delta_i = D_i^{-2} - I`,

.. math:: P_i = K - K_{\cdot J} \big(\Delta_{i,J}^{-1} + K_{JJ}\big)^{-1} K_{J \cdot} .
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from dichroic.algebra import Components, matheron, root
from dichroic.closed.evidence import ComponentStatistics, Evidence, randomness
from dichroic.closed.moment_start import Moments
from dichroic.problem import View
from dichroic.white.arrays import stack_samples, weighted
from dichroic.white.parallel import dense_side_by_side

__all__ = ["OBSERVATION", "Weights", "cholesky", "potri", "potrs", "symmetric"]

potrf, potri, potrs = scipy.linalg.get_lapack_funcs(("potrf", "potri", "potrs"), dtype=np.float64)

CONDITION = 1e8  # of the common system, above which taking values from it costs too many digits
OBSERVATION = 1e6  # floating-point operations that an observation costs whatever its size
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


class Weights(Evidence):
    """Observations that share their operators and have independent noise; sources of one component."""

    separate = True

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        A, weights, y = weighted(view, shapes)
        best = weights.max(0)
        self.kept = np.flatnonzero(best > 0)  # values that some observation has
        best = best[self.kept]
        self.A = best[:, None] * A[self.kept]
        self.D = weights[:, self.kept] / best
        self.y = y[:, self.kept]  # white
        self.count = (self.D > 0).sum(1)

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        return self._solved(components)[0]

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        log_likelihood, alpha, second = self._solved(components)
        A = {s: self.A[:, block] for s, block in self.blocks.items()}
        found = {s: ComponentStatistics.of_one(self.n, alpha @ a, a.T @ second @ a) for s, a in A.items()}
        return float(log_likelihood.sum()), found

    def _solved(self, components: Mapping[str, Components]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-likelihoods; sums of `alpha` and of its products with itself less `P`."""
        n, m = self.y.shape
        Q, shift = self._data_covariance(components), self._expected(components)
        L = scipy.linalg.cholesky(np.eye(m) + Q, lower=True, check_finite=False)
        K = symmetric(potri(L, lower=1)[0])
        log_likelihood = -0.5 * np.log(2 * np.pi) * self.count

        def job(number: int) -> _Sums:
            rows = np.array_split(np.arange(n), _JOBS)[number]
            sums = _Sums.zero(m)
            for begin in range(0, len(rows), _ROWS):
                some = rows[begin : begin + _ROWS]
                log_likelihood[some] += self._add(sums, some, Q, K, shift, np.log(np.diag(L)).sum())
            return sums

        # added up in the order of the shares: sums must not depend on which thread was first
        parts = dict(dense_side_by_side(job, range(_JOBS)))
        total = sum((parts[number] for number in range(_JOBS)), _Sums.zero(m))
        P = symmetric(total.alone) + total.takers * K - K @ symmetric(total.taken) @ K
        return log_likelihood, total.alpha, total.squares - P

    def _add(
        self, sums: _Sums, rows: np.ndarray, Q: np.ndarray, K: np.ndarray, shift: np.ndarray, half_log_det: float
    ) -> Float[np.ndarray, " k"]:
        """Adds some observations to the sums; their log-likelihoods, but for the factors of two pi."""
        D, y = self.D[rows], self.y[rows]
        # residuals in units of the most accurate noise; those of missing values have no effect and are zero
        r = np.divide(y, D, out=np.zeros_like(y), where=D > 0) - shift * (D > 0)
        differing = D < 1
        taking = (differing.sum(1) < self.count[rows]) & (len(Q) + np.trace(Q) < CONDITION)
        Kr = r @ K
        alpha, taken, log_dets = np.zeros_like(y), np.zeros_like(y), np.where(taking, 2 * half_log_det, 0)
        for i in range(len(rows)):
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

    def moments(self) -> list[Moments]:
        g = self.D**2
        power = (self.y**2).sum(1) / np.maximum(self.count, 1)
        weights = (power > 0) / np.maximum(power, 1) ** 2  # as `Moments.of_group`
        gy = self.D * self.y
        return [
            Moments(
                {s: self.A[:, block] for s, block in self.blocks.items()},
                weights @ g,
                weights @ gy,
                (weights * g.T) @ g,
                (weights * gy.T) @ g,
                (weights * gy.T) @ gy - np.diag(weights @ g),
            )
        ]

    def power(self, source: str) -> float:
        gain = (self.D**2).sum(0) @ (self.A[:, self.blocks[source]] ** 2).sum(1)
        return float((self.y**2).sum() / max(gain, 1e-300))

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        _, white, noise = randomness(keys, self.blocks[self.sources[-1]].stop, self.view.data_size)
        x = np.empty_like(white)
        for s, block in self.blocks.items():
            x[:, block] = components[s].means[0] + white[:, block] @ root(components[s].covariances[0]).T
        return self._given(components, x, noise[:, self.kept])

    def mean(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "n ..."]]:
        mean = np.concatenate([components[s].means[0] for s in self.sources])
        return self._given(components, np.broadcast_to(mean, (self.n, len(mean))), np.zeros_like(self.y))

    def _given(self, components: Mapping[str, Components], x: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
        """What becomes of draws of the sources, and of the noise, given the data."""
        Q = self._data_covariance(components)

        def pull(residual: np.ndarray) -> tuple[np.ndarray, None]:
            alpha = np.zeros_like(residual)

            def job(number: int) -> None:
                for i in range(number, len(alpha), _JOBS):
                    J = np.flatnonzero(self.D[i] > 0)
                    w = self.D[i, J]
                    # by itself: what is left of accurate data has to be right in relation to their noise
                    alpha[i, J] = w * potrs(cholesky(_system(Q, J, w)), residual[i, J], lower=1)[0]

            for _ in dense_side_by_side(job, range(_JOBS)):
                pass
            moved = [alpha @ self.A[:, b] @ components[s].covariances[0] for s, b in self.blocks.items()]
            return np.concatenate(moved, axis=1), None

        forward = lambda x: self.D * (x @ self.A.T)  # noqa: E731
        return self.cut(matheron(x, self.y, n, forward, pull)[0])

    def cost(self, components: Mapping[str, Components]) -> float:
        return float((self.view.counts.astype(float) ** 3 + OBSERVATION).sum())

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        residual = self.y - self.D * (stack_samples(samples, self.sources, self.n) @ self.A.T)
        return (residual**2).sum(1) / np.maximum(self.count, 1)

    def _data_covariance(self, components: Mapping[str, Components]) -> Float[np.ndarray, "m m"]:
        blocks = self.blocks.items()
        return np.sum([self.A[:, b] @ components[s].covariances[0] @ self.A[:, b].T for s, b in blocks], axis=0)

    def _expected(self, components: Mapping[str, Components]) -> Float[np.ndarray, " m"]:
        return np.sum([self.A[:, b] @ components[s].means[0] for s, b in self.blocks.items()], axis=0)


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
