r"""Observations that share operators, noise and mask, in dense algebra on the host.

With the components seen through the operator, :math:`A_s \mu_{sk}` and :math:`A_s S_{sk} A_s^\top`, once per component,
what is left for a combination is of the size of the data: a sum, a Cholesky factor, and solves. Of a single
combination, the observations' first two moments are all that counts: they are summed over once for all laps.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import product

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from scipy.special import logsumexp

from dichroic import memory
from dichroic.algebra import Components, matheron, root
from dichroic.closed.evidence import ComponentStatistics, Evidence, randomness
from dichroic.closed.moment_start import Moments
from dichroic.problem import View
from dichroic.white.arrays import Group, chi_square_of_groups, grouped, stack_samples
from dichroic.white.layout import group_alike
from dichroic.white.parallel import dense_side_by_side

__all__ = ["Groups", "group_operations"]

KEPT = 1 << 27  # entries of all matrices of groups up to which they are kept: one gibibyte
_KINDS = 8  # groups up to which their factors cost next to nothing
_NOTHING = 1e-12  # responsibilities below this are left out
_FACTORS = 1 << 26  # entries of all factors up to which none is computed twice
TABLE = 1 << 24  # densities of combinations, one of every observation, that are in memory together


def group_operations(n: int, m: int, d: int) -> float:
    """Of one combination of components of a group of `n` observations of `m` data, with `d` unknowns."""
    return 4.0 * m**3 + 2.0 * m * d * (m + d) + 6.0 * n * m**2


class Groups(Evidence):
    """The groups `indices` of a view (all of them, unless given)."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray] | None = None):
        super().__init__(view, shapes)
        self.indices = group_alike(view) if indices is None else indices
        self.separate = len(self.indices) > _KINDS
        self.data, self.unknowns = view.data_size, self.blocks[self.sources[-1]].stop
        self.fits = len(self.indices) * self.data * (self.data + self.unknowns) <= memory.entries(KEPT)

    @cached_property
    def kept(self) -> list[Group] | None:
        """All groups, None where they do not fit into memory."""
        return list(self._groups()) if self.fits else None

    @property
    def groups(self) -> Iterable[Group]:
        """The groups, made anew every time where they are not kept."""
        return self._groups() if self.kept is None else self.kept

    def _groups(self) -> Iterator[Group]:
        for members in self.indices:
            yield from grouped(self.view, self.shapes, [members])

    def _systems(self, components: Mapping[str, Components]) -> Iterator["_Combinations"]:
        for group in self.groups:
            yield from _Combinations(group, components, self.blocks).parts()

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        out = np.empty(self.n)
        for systems in self._systems(components):
            out[systems.group.members] = logsumexp(systems.log_joint(), axis=0)
        return out

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        if self.combinations(components) == 1:
            answers = (_Combinations(group, components, self.blocks).derivatives_of_one() for group in self.groups)
        else:
            answers = (systems.derivatives() for systems in self._systems(components))
        total, found = 0.0, {}
        for value, derivatives in answers:
            total += value
            for s, part in derivatives.items():
                found[s] = found[s] + part if s in found else part
        return total, found

    def mean(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "n ..."]]:
        out = np.empty((self.n, self.unknowns))
        for systems in self._systems(components):
            out[systems.group.members] = systems.posterior_mean(components, self.blocks)
        return self.cut(out)

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        uniform, white, noise = randomness(keys, self.unknowns, self.data)
        out = np.empty((self.n, self.unknowns))
        roots = {s: [root(S) for S in components[s].covariances] for s in self.blocks}
        for systems in self._systems(components):
            group = systems.group
            chosen = systems.choose(uniform[group.members])
            for number in np.unique(chosen):
                combination, rows = systems.combinations[number], group.members[chosen == number]
                parts = [
                    components[s].means[k] + white[rows, self.blocks[s]] @ roots[s][k].T for s, k in combination.items()
                ]

                def pull(r: np.ndarray, number=int(number), combination=combination, group=group, systems=systems):
                    v = scipy.linalg.cho_solve((systems.factor(number), True), r.T, check_finite=False)
                    each = combination.items()
                    moved = [components[s].covariances[k] @ (group.A[:, self.blocks[s]].T @ v) for s, k in each]
                    return np.concatenate(moved).T, None

                y, n = group.y[chosen == number], noise[np.ix_(rows, group.values)]
                out[rows], _ = matheron(np.concatenate(parts, 1), y, n, lambda x, A=group.A: x @ A.T, pull)
        return self.cut(out)

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        return chi_square_of_groups(self.groups, stack_samples(samples, self.sources, self.n))

    def cost(self, components: Mapping[str, Components]) -> float:
        each = sum(group_operations(len(members), self.data, self.unknowns) for members in self.indices)
        return self.combinations(components) * each

    def moments(self) -> list[Moments] | None:
        if self.kept is None:
            return None
        return [
            Moments.of_group({s: g.A[:, block] for s, block in self.blocks.items()}, len(g.y), g.total, g.second)
            for g in self.kept
        ]

    def power(self, source: str) -> float:
        data = scale = 0.0
        for g in self.groups:
            data += np.sum(g.y**2)
            scale += len(g.y) * np.sum(g.A[:, self.blocks[source]] ** 2)
        return float(data / max(scale, 1e-300))


class _Combinations:
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

    def parts(self) -> "Iterator[_Combinations]":
        """The same for shares of the observations whose densities fit into memory together."""
        rows = max(1, memory.entries(TABLE) // len(self.combinations))
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

    def shares(self) -> Float[np.ndarray, "combinations n"]:
        """Responsibilities of the combinations for every observation."""
        if len(self.combinations) == 1:
            return np.ones((1, len(self.group.y)))
        log_joint = self.log_joint()
        return np.exp(log_joint - logsumexp(log_joint, axis=0))

    def choose(self, uniform: Float[np.ndarray, " n"]) -> np.ndarray:
        """A combination for every observation, by its share and a uniform number."""
        share = self.shares()
        return (np.cumsum(share, 0) < uniform * share.sum(0)).sum(0)

    def posterior_mean(
        self, components: Mapping[str, Components], blocks: Mapping[str, slice]
    ) -> Float[np.ndarray, "n d"]:
        """The mean of all sources side by side, given each observation."""
        out = np.zeros((len(self.group.y), self.group.A.shape[1]))
        for c, share in enumerate(self.shares()):
            some = share > _NOTHING
            z, r = self._white(c, self.factor(c), self.group.y[some]), share[some, None]
            v = scipy.linalg.solve_triangular(self.factor(c), z, lower=True, trans=1, check_finite=False).T
            for s, k in self.combinations[c].items():
                moved = v @ self.A[s] @ components[s].covariances[k]
                out[some, blocks[s]] += r * (components[s].means[k] + moved)
        return out

    def derivatives_of_one(self) -> tuple[float, dict[str, ComponentStatistics]]:
        """`derivatives`, of a single combination: from the first two moments of the data."""
        g, L, shift = self.group, self.factor(0), self.mean(0)
        n = len(g.y)

        def white(x: np.ndarray) -> np.ndarray:
            return scipy.linalg.solve_triangular(L, x, lower=True, check_finite=False)

        cross = np.outer(g.total, shift)
        spread = g.second - cross - cross.T + n * np.outer(shift, shift)  # second moment of the residuals
        spread = white(white(spread).T)
        moved, middle = white(g.total - n * shift), spread - n * np.eye(len(L))
        seen = {s: white(A) for s, A in self.A.items()}
        found = {s: ComponentStatistics.of_one(n, V.T @ moved, V.T @ middle @ V) for s, V in seen.items()}
        constant = np.log(np.diag(L)).sum() + 0.5 * g.count * np.log(2 * np.pi)
        return float(-0.5 * np.trace(spread) - n * constant), found

    def derivatives(self) -> tuple[float, dict[str, ComponentStatistics]]:
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
        found = {
            s: ComponentStatistics(n, first @ self.A[s], self.A[s].T @ second @ self.A[s])
            for s, (n, first, second) in sums.items()
        }
        return float(evidence.sum()), found

    def factor(self, c: int) -> Float[np.ndarray, "m m"]:
        """Factor of the covariance of the data for one combination."""
        if c in self._factors:
            return self._factors[c]
        C = np.eye(len(self.group.A))
        for s, k in self.combinations[c].items():
            C += self.covariances[s][k]
        L = scipy.linalg.cholesky(C, lower=True, overwrite_a=True, check_finite=False)
        if len(self.combinations) * L.size <= memory.entries(_FACTORS):
            self._factors[c] = L
        return L

    def _white(self, c: int, L: np.ndarray, y: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "m k"]:
        """Residuals of some observations, white if they are of one combination, whose factor is `L`."""
        return scipy.linalg.solve_triangular(L, (y - self.mean(c)).T, lower=True, check_finite=False)

    def mean(self, c: int) -> Float[np.ndarray, " m"]:
        """Mean of the data for one combination."""
        return np.sum([self.means[s][k] for s, k in self.combinations[c].items()], axis=0)
