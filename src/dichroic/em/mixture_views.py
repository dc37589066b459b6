r"""What one view says about sources that are mixtures of Gaussians, by the cheapest exact route there is.

An observation of sources that are mixtures is itself a mixture, over all combinations :math:`c = (k_1, \ldots, k_S)` of
their components,

.. math:: p(y) = \sum_c \prod_s w_{s k_s}\; \mathcal N\Big(y;\; \sum_s A_s \mu_{s k_s},\;
    C_c = I + \sum_s A_s S_{s k_s} A_s^\top\Big) .

Two routes: every observation its own small system, in compiled code; observations that share operators, noise and mask
in dense algebra on the host. Where neither applies there is no mixture stage.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from dichroic.em.parallel import side_by_side
from dichroic.em.population import Population
from dichroic.em.whitened_view import Group, data_size, group_alike, grouped, stacked, value_count
from dichroic.linalg import cholesky, solve_lower, solve_upper
from dichroic.problem import View

__all__ = ["ComponentStatistics", "Mixture", "MixtureView", "bind_mixture_view"]

_SMALL = 8  # observations up to this size are solved one by one, in compiled code
_DENSE = 1024  # above this many unknowns or data, no dense matrix per component
_GROUPS = 8  # kinds of observation above which the dense route costs too much
_SYSTEMS = 1 << 14  # small systems side by side: what fits into the cache of a core
_SLOW = 20.0  # time of an operation on small systems, in units of one in a matrix product
_JOBS = 4  # shares of a view that are worked on side by side
_NOTHING = 1e-12  # responsibilities below this are left out


@dataclass(frozen=True)
class Mixture:
    """A mixture of `K` Gaussians over a source of `d` numbers, in the user's units."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]
    covariances: Float[np.ndarray, "K d d"]

    @classmethod
    def of(cls, population: Population) -> "Mixture":
        """A Gaussian as a mixture of one."""
        return cls(np.ones(1), np.asarray(population.mean)[None], population.covariance()[None])

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class ComponentStatistics:
    r"""Derivatives of a log-likelihood by the components of one source (Fisher's identity makes them the E-step).

    **Fields:** `count`, :math:`n_k = \partial L / \partial \log w_k`, responsibilities summed, shape `(K,)`; `first`,
    :math:`g_k = \partial L / \partial \mu_k`, `(K, d)`; `second`, :math:`G_k = 2\, \partial L / \partial S_k`,
    `(K, d, d)`.
    """

    count: Float[np.ndarray, " K"]
    first: Float[np.ndarray, "K d"]
    second: Float[np.ndarray, "K d d"]

    def __add__(self, other: "ComponentStatistics") -> "ComponentStatistics":
        return ComponentStatistics(self.count + other.count, self.first + other.first, self.second + other.second)


class MixtureView(ABC):
    """One view, prepared for exact answers about sources that are mixtures."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.sources = list(view.mixing)
        ends = np.cumsum([0, *[prod(shapes[s]) for s in self.sources]])
        self.blocks = {s: slice(int(a), int(b)) for s, a, b in zip(self.sources, ends, ends[1:], strict=False)}
        self.shapes = {s: tuple(shapes[s]) for s in self.sources}
        self.n = len(view)
        self.values = value_count(view)

    @abstractmethod
    def log_likelihood(self, mixtures: Mapping[str, Mixture]) -> Float[np.ndarray, " n"]:
        """The log-likelihood of every observation, in units in which the noise is white."""

    @abstractmethod
    def statistics(self, mixtures: Mapping[str, Mixture]) -> tuple[float, dict[str, ComponentStatistics]]:
        """The log-likelihood summed over the observations, and its derivatives."""

    @abstractmethod
    def draw(self, mixtures: Mapping[str, Mixture], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        """One draw of every observation from the exact posterior, each with its own key."""

    @abstractmethod
    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        """Squared residual of samples per observed value, in units in which the noise is white."""

    @abstractmethod
    def cost(self, combinations: int) -> float:
        """Floating-point operations of `statistics`, roughly."""

    def stack(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n d"]:
        """Samples of all sources side by side."""
        return np.concatenate([np.asarray(samples[s], float).reshape(self.n, -1) for s in self.sources], axis=1)

    def cut(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Stacked samples by source."""
        return {s: samples[:, block].reshape(-1, *self.shapes[s]) for s, block in self.blocks.items()}


def bind_mixture_view(view: View, shapes: Mapping[str, tuple[int, ...]]) -> MixtureView | None:
    """Chooses the route of a view; None where there is no exact one at a bearable cost."""
    unknowns, data = sum(prod(shapes[s]) for s in view.mixing), data_size(view)
    if data <= _SMALL and unknowns <= 8 * _SMALL:
        return _PerObservation(view, shapes)
    if max(data, max(prod(shapes[s]) for s in view.mixing)) <= _DENSE and len(group_alike(view)) <= _GROUPS:
        return _Grouped(view, shapes)
    return None


class _PerObservation(MixtureView):
    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        found = stacked(view, shapes)
        self.A, self.y = np.asarray(found.A), np.asarray(found.y)
        self.count = found.count
        self.constant = 0.5 * np.log(2 * np.pi) * found.count

    def log_likelihood(self, mixtures: Mapping[str, Mixture]) -> Float[np.ndarray, " n"]:
        return self._in_blocks(_log_likelihoods, mixtures) - self.constant

    def statistics(self, mixtures: Mapping[str, Mixture]) -> tuple[float, dict[str, ComponentStatistics]]:
        total, found = 0.0, {}
        for value, derivatives in self._jobs(_derivatives, mixtures):
            total += float(value)
            for s, (count, first, second) in zip(self.sources, derivatives, strict=True):
                # only the lower triangle of a covariance is read, so that its derivative is split unevenly
                part = ComponentStatistics(count, first, second + second.swapaxes(1, 2))
                found[s] = found[s] + part if s in found else part
        return total - float(self.constant.sum()), found

    def draw(self, mixtures: Mapping[str, Mixture], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        return self.cut(self._in_blocks(_draws, mixtures, keys))

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        residual = self.y - np.einsum("nij,nj->ni", self.A, self.stack(samples))
        return (residual**2).sum(1) / np.maximum(self.count, 1)

    def cost(self, combinations: int) -> float:
        m = self.y.shape[1]
        return _SLOW * self.n * combinations * (m**3 + 12 * m**2)

    def _in_blocks(self, function, mixtures: Mapping[str, Mixture], *each: Array) -> np.ndarray:
        parts = self._jobs(function, mixtures, *each)
        return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])[: self.n]

    def _jobs(self, function, mixtures: Mapping[str, Mixture], *each: Array) -> list:
        """Calls a function on shares of the observations, cut into blocks that fit into the cache of a core.

        The last block is filled up with observations that say nothing.
        """
        combinations = prod(len(mixtures[s]) for s in self.sources)
        block = max(1, min(-(-self.n // _JOBS), _SYSTEMS // combinations))
        blocks = -(-self.n // (_JOBS * block))
        with jax.enable_x64(True):
            parts = [
                (jnp.log(mixtures[s].weights), jnp.asarray(mixtures[s].means), jnp.asarray(mixtures[s].covariances))
                for s in self.sources
            ]

        def call(job: int):
            rows = (job * blocks * block + np.arange(blocks * block)).reshape(blocks, block)
            kept = rows < self.n
            rows = np.minimum(rows, self.n - 1)
            A, y = self.A[rows] * kept[..., None, None], self.y[rows] * kept[..., None]
            with jax.enable_x64(True):
                A = [jnp.asarray(A[..., self.blocks[s]]) for s in self.sources]
                out = function(parts, A, jnp.asarray(y), jnp.asarray(kept), *[e[rows] for e in each])
                return jax.tree.map(np.asarray, out)

        found = dict(side_by_side(call, range(_JOBS), alike=True))
        return [found[job] for job in range(_JOBS)]


def _combine(parts, A, y):
    """Log-weight, mean and factor of the covariance of `y` for every combination, the last source running fastest."""
    m = len(y)
    log_w, mean, C = jnp.zeros(1), jnp.zeros((1, m)), jnp.eye(m)[None]
    for (log_weights, means, covariances), a in zip(parts, A, strict=True):
        log_w = (log_w[:, None] + log_weights).reshape(-1)
        mean = (mean[:, None] + means @ a.T).reshape(-1, m)
        C = (C[:, None] + jnp.einsum("ai,kij,bj->kab", a, covariances, a)).reshape(-1, m, m)
    L = jax.vmap(cholesky)(C)
    z = jax.vmap(solve_lower)(L, y - mean)
    log_p = log_w - 0.5 * jnp.sum(z**2, 1) - jnp.sum(jnp.log(jnp.diagonal(L, axis1=1, axis2=2)), 1)
    return log_p, L


@jax.jit
def _log_likelihoods(parts, A, y, kept):
    one = jax.vmap(lambda a, u: jax.nn.logsumexp(_combine(parts, a, u)[0]))
    return jax.lax.map(lambda block: one(*block), (A, y))


@jax.jit
def _derivatives(parts, A, y, kept):
    def add(sums, block):
        a, u, kept = block

        def total(p):
            return jnp.sum(kept * jax.vmap(lambda a, u: jax.nn.logsumexp(_combine(p, a, u)[0]))(a, u))

        return jax.tree.map(jnp.add, sums, jax.value_and_grad(total)(parts)), None

    zero = (jnp.zeros((), y.dtype), jax.tree.map(jnp.zeros_like, parts))
    return jax.lax.scan(add, zero, (A, y, kept))[0]


@jax.jit
def _draws(parts, A, y, kept, keys):
    def one(A, y, key):
        log_p, L = _combine(parts, A, y)
        choice_key, noise_key, *source_keys = jax.random.split(key, 2 + len(parts))
        chosen = jax.random.categorical(choice_key, log_p)
        members = jnp.unravel_index(chosen, [len(p[0]) for p in parts])
        means = [p[1][k] for p, k in zip(parts, members, strict=True)]
        covariances = [p[2][k] for p, k in zip(parts, members, strict=True)]
        x = [
            mean + cholesky(S) @ jax.random.normal(k, mean.shape)
            for mean, S, k in zip(means, covariances, source_keys, strict=True)
        ]
        residual = y - sum(a @ u for a, u in zip(A, x, strict=True)) - jax.random.normal(noise_key, y.shape)
        v = solve_upper(L[chosen], solve_lower(L[chosen], residual))
        return jnp.concatenate([u + S @ (a.T @ v) for u, S, a in zip(x, covariances, A, strict=True)])

    return jax.lax.map(lambda block: jax.vmap(one)(*block), (A, y, keys))


class _Grouped(MixtureView):
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

    def cost(self, combinations: int) -> float:
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
