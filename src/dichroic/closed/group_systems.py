r"""The data of observations that share their operators, for all combinations of the components of their sources.

With the components seen through the operator, :math:`A_s \mu_{sk}` and :math:`A_s S_{sk} A_s^\top`, once per component,
what is left for a combination is of the size of the data: a sum, a Cholesky factor, and solves.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from itertools import product

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.special import logsumexp

from dichroic.algebra import Components
from dichroic.white.parallel import dense_side_by_side
from dichroic.white.view import Group

__all__ = ["GroupSystems"]

_NOTHING = 1e-12  # responsibilities below this are left out
_KEPT = 1 << 26  # entries of all factors up to which none is computed twice
_TABLE = 1 << 24  # densities of combinations, one of every observation, that are in memory together


class GroupSystems:
    """One group and the components of its sources, `blocks` saying where in its matrix each of them stands."""

    def __init__(self, group: Group, components: Mapping[str, Components], blocks: Mapping[str, slice]):
        self.group = group
        self.A = {s: group.A[:, block] for s, block in blocks.items()}
        self.log_weights = {s: np.log(components[s].weights) for s in self.A}
        self.means = {s: components[s].means @ A.T for s, A in self.A.items()}
        self.covariances = {s: A @ components[s].covariances @ A.T for s, A in self.A.items()}
        numbers = product(*[range(len(components[s])) for s in self.A])
        self.combinations = [dict(zip(self.A, chosen, strict=True)) for chosen in numbers]
        self._factors: dict[int, np.ndarray] = {}
        n, m = group.y.shape
        self._operations = 2.0 * len(self.combinations) * m * m * (n + m)

    def parts(self) -> "Iterator[GroupSystems]":
        """The same for shares of the observations whose densities fit into memory together."""
        rows = max(1, _TABLE // len(self.combinations))
        for begin in range(0, len(self.group.y), rows):
            share, part = slice(begin, begin + rows), copy(self)
            part.group = replace(self.group, members=self.group.members[share], y=self.group.y[share])
            yield part

    def log_joint(self) -> Float[np.ndarray, "combinations n"]:
        """Log-density of the data and of every combination, together."""
        out = np.empty((len(self.combinations), len(self.group.y)))

        def log_joint(c: int) -> np.ndarray:
            L = self.factor(c)
            log_w = sum(self.log_weights[s][k] for s, k in self.combinations[c].items())
            return log_w - 0.5 * (self._white(c, L, self.group.y) ** 2).sum(0) - np.log(np.diag(L)).sum()

        for c, row in dense_side_by_side(log_joint, range(len(self.combinations)), self._operations):
            out[c] = row
        return out - 0.5 * self.group.count * np.log(2 * np.pi)

    def derivatives(self) -> tuple[float, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """The log-likelihood of the group, and its derivatives by the components as `ComponentStatistics` has them."""
        log_joint = self.log_joint()
        evidence = np.asarray(logsumexp(log_joint, axis=0))
        shares = np.exp(log_joint - evidence)

        def derivatives(c: int) -> tuple[float, np.ndarray, np.ndarray]:
            some, L = shares[c] > _NOTHING, self.factor(c)
            z, r = self._white(c, L, self.group.y[some]), shares[c, some]

            def back(x: np.ndarray) -> np.ndarray:
                return scipy.linalg.solve_triangular(L, x, lower=True, trans=1, check_finite=False)

            return r.sum(), back(z @ r), back(back((z * r) @ z.T - r.sum() * np.eye(len(L))).T)

        # by means and covariances of the data, all combinations of a component together; then once per component back
        sums = {
            s: (np.zeros(len(mu)), np.zeros_like(mu), np.zeros_like(self.covariances[s]))
            for s, mu in self.means.items()
        }
        some = [c for c in range(len(self.combinations)) if (shares[c] > _NOTHING).any()]
        # added up in the order of the combinations: sums must not depend on which thread was first
        for c, parts in sorted(dense_side_by_side(derivatives, some, self._operations)):
            for s, k in self.combinations[c].items():
                for total, part in zip(sums[s], parts, strict=True):
                    total[k] += part
        found = {s: (n, first @ self.A[s], self.A[s].T @ second @ self.A[s]) for s, (n, first, second) in sums.items()}
        return float(evidence.sum()), found

    def factor(self, c: int) -> Float[np.ndarray, "m m"]:
        """Factor of the covariance of the data for one combination."""
        if c in self._factors:
            return self._factors[c]
        C = np.eye(len(self.group.A))
        for s, k in self.combinations[c].items():
            C += self.covariances[s][k]
        L = scipy.linalg.cholesky(C, lower=True, overwrite_a=True, check_finite=False)
        if len(self.combinations) * L.size <= _KEPT:
            self._factors[c] = L
        return L

    def _white(self, c: int, L: np.ndarray, y: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "m k"]:
        """Residuals of some observations, white if they are of one combination, whose factor is `L`."""
        return scipy.linalg.solve_triangular(L, (y - self.mean(c)).T, lower=True, check_finite=False)

    def mean(self, c: int) -> Float[np.ndarray, " m"]:
        """Mean of the data for one combination."""
        return np.sum([self.means[s][k] for s, k in self.combinations[c].items()], axis=0)
