r"""What one view says about sources that are mixtures of Gaussians, by the cheapest exact route there is.

An observation of sources that are mixtures is itself a mixture, over all combinations :math:`c = (k_1, \ldots, k_S)` of
their components,

.. math:: p(y) = \sum_c \prod_s w_{s k_s}\; \mathcal N\Big(y;\; \sum_s A_s \mu_{s k_s},\;
    C_c = I + \sum_s A_s S_{s k_s} A_s^\top\Big) .

Two routes: every observation its own small system, in compiled code (`mixture_systems`); observations that share
operators, noise and mask in dense algebra on the host. Where neither applies there is no mixture stage.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from math import prod

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from dichroic.em.mixture_systems import SystemView
from dichroic.em.mixture_view import ComponentStatistics, MixtureView
from dichroic.em.parallel import side_by_side
from dichroic.em.population import Mixture
from dichroic.em.whitened_view import Group, group_alike, grouped
from dichroic.problem import View

__all__ = ["GroupedView", "bind_mixture_view"]

_SMALL = 8  # observations up to this size are solved one by one, in compiled code
_DENSE = 1024  # above this many unknowns or data, no dense matrix per component
_GROUPS = 8  # kinds of observation above which the dense route costs too much
_NOTHING = 1e-12  # responsibilities below this are left out


def bind_mixture_view(view: View, shapes: Mapping[str, tuple[int, ...]]) -> MixtureView | None:
    """Chooses the route of a view; None where there is no exact one at a bearable cost."""
    unknowns, data = sum(prod(shapes[s]) for s in view.mixing), view.data_size
    if data <= _SMALL and unknowns <= 8 * _SMALL:
        return SystemView(view, shapes)
    if max(data, max(prod(shapes[s]) for s in view.mixing)) <= _DENSE and len(group_alike(view)) <= _GROUPS:
        return GroupedView(view, shapes)
    return None


class GroupedView(MixtureView):
    """Observations that share operators, noise and mask, in dense algebra on the host."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        self.groups = grouped(view, shapes)

    def log_likelihood(self, mixtures: Mapping[str, Mixture]) -> Float[np.ndarray, " n"]:
        out = np.empty(self.n)
        for group in self.groups:
            out[group.members] = logsumexp(self._log_joint(group, mixtures), axis=0)
        return out

    def statistics(self, mixtures: Mapping[str, Mixture]) -> tuple[float, dict[str, ComponentStatistics]]:
        total, combinations = 0.0, self._combinations(mixtures)
        found = {
            s: ComponentStatistics(*[np.zeros_like(a) for a in (x.weights, x.means, x.covariances)])
            for s, x in mixtures.items()
            if s in self.blocks
        }
        for group in self.groups:
            log_joint = self._log_joint(group, mixtures)
            evidence = np.asarray(logsumexp(log_joint, axis=0))
            total += float(evidence.sum())
            shares = np.exp(log_joint - evidence)

            def derivatives(c: int, group=group, shares=shares) -> tuple[float, np.ndarray, np.ndarray]:
                some = shares[c] > _NOTHING
                L, mean = self._gaussian(group, mixtures, combinations[c])
                v = scipy.linalg.cho_solve((L, True), (group.y[some] - mean).T, check_finite=False)
                inverse = scipy.linalg.cho_solve((L, True), np.eye(len(L)), check_finite=False)
                r = shares[c, some]
                return r.sum(), v @ r, (v * r) @ v.T - r.sum() * inverse

            some = [c for c in range(len(combinations)) if (shares[c] > _NOTHING).any()]
            # added up in the order of the combinations: sums must not depend on which thread was first
            for c, (count, first, second) in sorted(_threads(derivatives, some)):
                for s, k in combinations[c].items():
                    A = group.A[:, self.blocks[s]]
                    found[s].count[k] += count
                    found[s].first[k] += A.T @ first
                    found[s].second[k] += A.T @ second @ A
        return total, found

    def draw(self, mixtures: Mapping[str, Mixture], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        m, d = self.groups[0].A.shape
        uniform, white, noise = (np.asarray(a, float) for a in _randomness(keys, d, m))
        out = np.empty((self.n, d))
        combinations = self._combinations(mixtures)
        roots = {s: [_root(S) for S in mixtures[s].covariances] for s in self.blocks}
        for group in self.groups:
            log_joint = self._log_joint(group, mixtures)
            share = np.exp(log_joint - logsumexp(log_joint, axis=0))
            chosen = (np.cumsum(share, 0) < uniform[group.members] * share.sum(0)).sum(0)
            for number in np.unique(chosen):
                combination, rows = combinations[number], group.members[chosen == number]
                x = np.concatenate(
                    [
                        mixtures[s].means[k] + white[rows, self.blocks[s]] @ roots[s][k].T
                        for s, k in combination.items()
                    ],
                    axis=1,
                )
                L, _ = self._gaussian(group, mixtures, combination)
                residual = group.y[chosen == number] - x @ group.A.T - noise[rows]
                v = scipy.linalg.cho_solve((L, True), residual.T, check_finite=False)
                moved = [
                    mixtures[s].covariances[k] @ (group.A[:, self.blocks[s]].T @ v) for s, k in combination.items()
                ]
                out[rows] = x + np.concatenate(moved).T
        return self.cut(out)

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        x, out = self.stack(samples), np.empty(self.n)
        for group in self.groups:
            residual = group.y - x[group.members] @ group.A.T
            out[group.members] = (residual**2).sum(1) / max(group.count, 1)
        return out

    def cost(self, mixtures: Mapping[str, Mixture]) -> float:
        combinations = prod(len(mixtures[s]) for s in self.sources)
        m, d = self.groups[0].A.shape
        per_group = len(self.groups) * (4 * m**3 + 2 * m * d * (m + d))
        return combinations * (per_group + 6.0 * self.n * m**2)

    def _combinations(self, mixtures: Mapping[str, Mixture]) -> list[dict[str, int]]:
        numbers = product(*[range(len(mixtures[s])) for s in self.sources])
        return [dict(zip(self.sources, chosen, strict=True)) for chosen in numbers]

    def _gaussian(self, group: Group, mixtures: Mapping[str, Mixture], combination: Mapping[str, int]):
        """Factor of the covariance and mean of the data, for one combination."""
        C, mean = np.eye(len(group.A)), np.zeros(len(group.A))
        for s, k in combination.items():
            A = group.A[:, self.blocks[s]]
            C, mean = C + A @ mixtures[s].covariances[k] @ A.T, mean + A @ mixtures[s].means[k]
        return scipy.linalg.cholesky(C, lower=True, check_finite=False), mean

    def _log_joint(self, group: Group, mixtures: Mapping[str, Mixture]) -> Float[np.ndarray, "combinations n"]:
        combinations = self._combinations(mixtures)
        out = np.empty((len(combinations), len(group.y)))

        def log_joint(c: int) -> np.ndarray:
            L, mean = self._gaussian(group, mixtures, combinations[c])
            z = scipy.linalg.solve_triangular(L, (group.y - mean).T, lower=True, check_finite=False)
            log_w = sum(np.log(mixtures[s].weights[k]) for s, k in combinations[c].items())
            return log_w - 0.5 * (z**2).sum(0) - np.log(np.diag(L)).sum() - 0.5 * group.count * np.log(2 * np.pi)

        for c, row in _threads(log_joint, range(len(combinations))):
            out[c] = row
        return out


def _threads(function, numbers: Sequence[int]):
    """Dense algebra on all cores, one thread of BLAS each: its own threads wait for each other on a busy machine."""
    with threadpool_limits(1, "blas"):
        yield from side_by_side(function, numbers)


@partial(jax.jit, static_argnums=(1, 2))
def _randomness(keys, d: int, m: int):
    """A uniform number, `d` and `m` standard normal ones for every key: equal keys draw alike in any company."""

    def one(key):
        first, second, third = jax.random.split(key, 3)
        return jax.random.uniform(first), jax.random.normal(second, (d,)), jax.random.normal(third, (m,))

    return jax.vmap(one)(keys)


def _root(S: np.ndarray) -> np.ndarray:
    values, basis = np.linalg.eigh(S)
    return basis * np.sqrt(np.maximum(values, 0))
