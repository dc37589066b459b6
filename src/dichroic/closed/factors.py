r"""Observations whose operators differ by entrywise factors only: amplitudes, masks, flat fields, noise of their own.

With :math:`A_{is} = \mathrm{diag}(D_{is}) B_s` in units of the noise, zero where nothing is observed, the components
seen through the cores, :math:`B_s \mu_{sk}` and :math:`Q_{sk} = B_s S_{sk} B_s^\top`, are made once for all
observations, and each of these solves small systems of the size of its own data: for a combination `c` of components,

.. math:: C_{ic} = I + \sum_s D_{is} Q_{s k_s} D_{is} , \qquad
    \alpha_{ic} = C_{ic}^{-1} \Big(y_i - \sum_s D_{is} B_s \mu_{s k_s}\Big) .

Sums of what comes out, back through the factors, are all that the components need: with responsibilities
:math:`r_{ic}`, of :math:`r\, D_s \alpha` and :math:`r\, D_s (\alpha \alpha^\top - C^{-1}) D_s`. Where observations
share their operators, all sources have the same factors, and of one component each these sums are had for less
(`dichroic.closed.weights`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp

from dichroic.algebra import Components, matheron, root
from dichroic.closed.evidence import ComponentStatistics, Evidence, randomness
from dichroic.closed.moment_start import Moments
from dichroic.closed.weights import cholesky, potri, potrs, sums_of_alike, symmetric
from dichroic.problem import View
from dichroic.white.arrays import factored
from dichroic.white.layout import has_weights
from dichroic.white.parallel import dense_side_by_side

__all__ = ["Factors", "factor_operations"]

_NOTHING = 1e-12  # responsibilities below this are left out
_OBSERVATION = 1e6  # floating-point operations that an observation costs whatever its size
_JOBS = 4  # shares of a view that are worked on side by side


def factor_operations(counts: np.ndarray, combinations: int) -> float:
    """Of observations of so many data each: a factor per combination, and the inverses of those that count."""
    return float((counts.astype(float) ** 3 * (combinations + 2) / 3 + combinations * _OBSERVATION).sum())


@dataclass(frozen=True)
class _Solved:
    """One observation: the values `J` that it has, responsibilities, and factors and solutions of its combinations."""

    J: Any
    pairs: Any
    D: dict[str, np.ndarray]
    evidence: float
    shares: np.ndarray
    factors: list[np.ndarray]
    alphas: list[np.ndarray]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Combinations that count, with their shares."""
        return ((int(c), float(self.shares[c])) for c in np.flatnonzero(self.shares > _NOTHING))


class Factors(Evidence):
    """Entrywise factors behind cores that all observations share; a view for which `factored` holds.

    `common` are the factors of all sources in units of the most accurate noise of each value, None where they differ.
    """

    separate = True

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        parts = factored(view, shapes)
        assert parts is not None
        A, D, seen, y = parts
        self.kept = np.flatnonzero(seen.any(0))  # values that some observation has
        self.seen, self.y = seen[:, self.kept], y[:, self.kept]
        self.count = self.seen.sum(1)
        self.A = {s: a[self.kept] for s, a in A.items()}
        self.D: dict[str, np.ndarray] = {s: d[:, self.kept] for s, d in D.items()}
        self.common: np.ndarray | None = None
        if has_weights(view):
            weights = self.D[self.sources[0]]
            best = weights.max(0)
            common: np.ndarray = weights / best
            self.common = common
            self.A = {s: best[:, None] * a for s, a in self.A.items()}
            self.D = dict.fromkeys(self.sources, common)

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        if self._at_once(components):
            return self._sums(components)[0]
        return np.array([solved.evidence for solved in self._each(components)])

    def _at_once(self, components: Mapping[str, Components]) -> bool:
        return self.common is not None and self.combinations(components) == 1

    def _sums(self, components: Mapping[str, Components]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self.common is not None
        Q = np.sum([q[0] for q in self._shown(components).values()], axis=0)
        shift = np.sum([self.A[s] @ components[s].means[0] for s in self.sources], axis=0)
        return sums_of_alike(self.common, self.y, Q, shift)

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        if self._at_once(components):
            log_likelihood, alpha, second = self._sums(components)
            parts = {s: ComponentStatistics.of_one(self.n, alpha @ a, a.T @ second @ a) for s, a in self.A.items()}
            return float(log_likelihood.sum()), parts
        combinations = self._combinations(components)

        def sums(rows: np.ndarray) -> tuple[float, dict[str, ComponentStatistics]]:
            m = self.y.shape[1]
            total = {
                s: ComponentStatistics(np.zeros(K), np.zeros((K, m)), np.zeros((K, m, m)))
                for s, K in ((s, len(components[s])) for s in self.sources)
            }
            value = 0.0
            for solved in self._solved(components, combinations, rows):
                value += solved.evidence
                for c, r in solved:
                    alpha = solved.alphas[c]
                    # of the inverse, and so of the sum, the lower triangle alone is right
                    M = r * (np.outer(alpha, alpha) - potri(solved.factors[c], lower=1)[0])
                    for s, k in combinations[c].items():
                        d, found = solved.D[s], total[s]
                        found.count[k] += r
                        found.first[k, solved.J] += r * d * alpha
                        found.second[k][solved.pairs] += d[:, None] * M * d
            return value, total

        jobs = [rows for rows in np.array_split(np.arange(self.n), _JOBS) if len(rows)]
        # added up in the order of the shares: sums must not depend on which thread was first
        parts = dict(dense_side_by_side(lambda number: sums(jobs[number]), range(len(jobs))))
        value, found = parts[0]
        for number in range(1, len(jobs)):
            value, found = value + parts[number][0], {s: x + parts[number][1][s] for s, x in found.items()}
        out = {}
        for s, x in found.items():
            second = np.stack([self.A[s].T @ symmetric(M) @ self.A[s] for M in x.second])
            out[s] = ComponentStatistics(x.count, x.first @ self.A[s], second)
        return value, out

    def mean(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "n ..."]]:
        combinations = self._combinations(components)
        if len(combinations) == 1:
            means = np.concatenate([components[s].means[0] for s in self.sources])
            every = np.broadcast_to(means, (self.n, len(means)))
            return self._given(components, np.zeros(self.n, int), every, np.zeros_like(self.y))
        shares = {s: np.zeros((len(components[s]), self.n)) for s in self.sources}
        pulled = {s: np.zeros((len(components[s]), *self.y.shape)) for s in self.sources}
        for i, solved in enumerate(self._each(components)):
            for c, r in solved:
                for s, k in combinations[c].items():
                    shares[s][k, i] += r
                    pulled[s][k, i, solved.J] += r * solved.D[s] * solved.alphas[c]
        found = {}
        for s in self.sources:
            x = components[s]
            moved = np.einsum("kni,kij->nj", pulled[s] @ self.A[s], x.covariances)
            found[s] = shares[s].T @ x.means + moved
        return self.cut(np.concatenate([found[s] for s in self.sources], axis=1))

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        uniform, white, noise = randomness(keys, self.blocks[self.sources[-1]].stop, self.view.data_size)
        combinations, chosen = self._combinations(components), np.zeros(self.n, int)
        if len(combinations) > 1:
            for i, solved in enumerate(self._each(components)):
                total = np.cumsum(solved.shares)
                chosen[i] = min(int((total < uniform[i] * total[-1]).sum()), len(total) - 1)
        x = np.empty_like(white)
        for s, block in self.blocks.items():
            for k, rows in _alike(combinations, chosen, s):
                x[rows, block] = components[s].means[k] + white[rows, block] @ root(components[s].covariances[k]).T

        return self._given(components, chosen, x, noise[:, self.kept] * self.seen)

    def _given(
        self, components: Mapping[str, Components], chosen: np.ndarray, x: np.ndarray, noise: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What becomes of draws of the sources, each of its chosen combination, and of the noise, given the data."""
        Q, combinations = self._shown(components), self._combinations(components)

        def forward(x: np.ndarray) -> np.ndarray:
            return np.sum([self.D[s] * (x[:, block] @ self.A[s].T) for s, block in self.blocks.items()], axis=0)

        def pull(residual: np.ndarray) -> tuple[np.ndarray, None]:
            alpha = np.zeros_like(residual)

            def job(number: int) -> None:
                for i in range(number, self.n, _JOBS):
                    J, pairs = self._values(i)
                    each = combinations[chosen[i]].items()
                    C = np.sum([self._spread(s, i, Q[s][k], J, pairs) for s, k in each], axis=0)
                    C[np.diag_indices(len(C))] += 1
                    alpha[i, J] = potrs(cholesky(C), residual[i, J], lower=1)[0]

            for _ in dense_side_by_side(job, range(_JOBS)):
                pass
            moved = np.zeros_like(x)
            for s, block in self.blocks.items():
                back = (self.D[s] * alpha) @ self.A[s]
                for k, rows in _alike(combinations, chosen, s):
                    moved[rows, block] = back[rows] @ components[s].covariances[k]
            return moved, None

        return self.cut(matheron(x, self.y, noise, forward, pull)[0])

    def moments(self) -> list[Moments] | None:
        if self.common is None:
            return None
        g = self.common**2
        power = (self.y**2).sum(1) / np.maximum(self.count, 1)
        weights = (power > 0) / np.maximum(power, 1) ** 2  # as `Moments.of_group`
        gy = self.common * self.y
        first, pairs, crossed = weights @ gy, (weights * g.T) @ g, (weights * gy.T) @ g
        second = (weights * gy.T) @ gy - np.diag(weights @ g)
        return [Moments(self.A, weights @ g, first, pairs, crossed, second)]

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        shown = [self.D[s] * (np.asarray(samples[s], float).reshape(self.n, -1) @ self.A[s].T) for s in self.sources]
        return ((self.y - np.sum(shown, axis=0)) ** 2).sum(1) / np.maximum(self.count, 1)

    def power(self, source: str) -> float:
        gain = (self.D[source] ** 2).sum(0) @ (self.A[source] ** 2).sum(1)
        return float((self.y**2).sum() / max(gain, 1e-300))

    def cost(self, components: Mapping[str, Components]) -> float:
        return factor_operations(self.count, self.combinations(components))

    def _combinations(self, components: Mapping[str, Components]) -> list[dict[str, int]]:
        numbers = product(*[range(len(components[s])) for s in self.sources])
        return [dict(zip(self.sources, chosen, strict=True)) for chosen in numbers]

    def _each(self, components: Mapping[str, Components]) -> Iterator[_Solved]:
        return self._solved(components, self._combinations(components), np.arange(self.n))

    def _shown(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "K m m"]]:
        """Covariances of the components through the cores."""
        return {s: self.A[s] @ components[s].covariances @ self.A[s].T for s in self.sources}

    def _values(self, i: int) -> tuple[Any, Any]:
        """Which values an observation has, and their pairs."""
        if self.seen[i].all():
            return slice(None), (slice(None), slice(None))
        J = np.flatnonzero(self.seen[i])
        return J, np.ix_(J, J)

    def _spread(self, s: str, i: int, q: np.ndarray, J: Any, pairs: Any) -> Float[np.ndarray, "k k"]:
        d = self.D[s][i, J]
        return d[:, None] * q[pairs] * d

    def _solved(
        self, components: Mapping[str, Components], combinations: list[dict[str, int]], rows: np.ndarray
    ) -> Iterator[_Solved]:
        Q = self._shown(components)
        shift = {s: components[s].means @ self.A[s].T for s in self.sources}
        log_w = [sum(np.log(components[s].weights[k]) for s, k in each.items()) for each in combinations]
        for i in rows.tolist():
            J, pairs = self._values(i)
            D = {s: self.D[s][i, J] for s in self.sources}
            spread = {s: [self._spread(s, i, q, J, pairs) for q in Q[s]] for s in self.sources}
            expected = {s: D[s] * shift[s][:, J] for s in self.sources}
            factors, alphas, log_joint = [], [], np.empty(len(combinations))
            for c, each in enumerate(combinations):
                C = np.sum([spread[s][k] for s, k in each.items()], axis=0)
                C[np.diag_indices(len(C))] += 1
                r = self.y[i, J] - np.sum([expected[s][k] for s, k in each.items()], axis=0)
                L = cholesky(C)
                alphas.append(potrs(L, r, lower=1)[0])
                factors.append(L)
                log_joint[c] = log_w[c] - 0.5 * r @ alphas[c] - np.log(np.diag(L)).sum()
            evidence = float(logsumexp(log_joint))
            constant = 0.5 * np.log(2 * np.pi) * self.count[i]
            yield _Solved(J, pairs, D, evidence - constant, np.exp(log_joint - evidence), factors, alphas)


def _alike(combinations: list[dict[str, int]], chosen: np.ndarray, source: str) -> Iterator[tuple[int, np.ndarray]]:
    """Every component of a source that is chosen, and which observations have it."""
    which = np.array([each[source] for each in combinations])[chosen]
    return ((int(k), which == k) for k in np.unique(which))
