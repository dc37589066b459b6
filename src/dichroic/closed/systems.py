r"""Every observation its own small system, in compiled code: the route of few data per observation.

Up to a number of combinations of components all of them count, beyond it the likeliest ones (see `combinations`).
"""

from collections.abc import Mapping
from functools import partial
from itertools import product
from math import ceil, log2
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from dichroic.algebra import Components, matheron
from dichroic.algebra.small import cholesky, solve_lower, solve_upper
from dichroic.closed.combinations import component_tree, gaussians, likeliest
from dichroic.closed.evidence import ComponentStatistics, Evidence
from dichroic.problem import View
from dichroic.white.arrays import in_blocks, stack_samples, stacked
from dichroic.white.parallel import side_by_side

__all__ = ["Systems", "system_operations"]

_SOME = 64  # combinations that are kept otherwise
_SYSTEMS = 1 << 14  # small systems side by side: what fits into the cache of a core
_SLOW = 20.0  # time of an operation on small systems, in units of one in a matrix product
_SEARCH = 0.25  # time of a density in units of one with its derivatives
_JOBS = 4  # shares of a view that are worked on side by side, at least
MOST = 1 << 16  # observations in a share: each is copied


def system_operations(n: int, m: int) -> float:
    """Of one combination of components for `n` observations of `m` data, in units of those of a matrix product."""
    return _SLOW * n * (m**3 + 12 * m**2)


class Systems(Evidence):
    """Observations with an operator, noise or mask of their own.

    `exhaustive` is the number of combinations up to which none is left out.
    """

    exhaustive: ClassVar[int] = 256

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        self.A, self.y, self.count = stacked(view, shapes)
        self.constant = 0.5 * np.log(2 * np.pi) * self.count

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        return self._in_blocks(_log_likelihoods, components) - self.constant

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        if self.combinations(components) == 1:
            return self._statistics_of_one(components)
        total, found = 0.0, {}
        for value, derivatives in self._jobs(_derivatives, components):
            total += float(value)
            for s, (count, first, second) in zip(self.sources, derivatives, strict=True):
                # only the lower triangle of a covariance is read, so that its derivative is split unevenly
                part = ComponentStatistics(count, first, second + second.swapaxes(1, 2))
                found[s] = found[s] + part if s in found else part
        return total - float(self.constant.sum()), found

    def _statistics_of_one(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        mean = np.concatenate([components[s].means[0] for s in self.sources])
        S = scipy.linalg.block_diag(*[components[s].covariances[0] for s in self.sources])
        value, first, second = 0.0, np.zeros(len(mean)), np.zeros((len(mean), len(mean)))
        for rows in in_blocks(self.n):
            A, y = (self.A, self.y) if len(rows) == self.n else (self.A[rows], self.y[rows])
            if (again := np.diff(rows, prepend=-1) == 0).any():  # filled up: they are to say nothing
                A[again], y[again] = 0, 0
            with jax.enable_x64(True):
                part = (np.asarray(a) for a in _derivatives_of_one(A, y, mean, S))
                value, first, second = (a + b for a, b in zip((value, first, second), part, strict=True))
        found = {s: ComponentStatistics.of_one(self.n, first[b], second[b, b]) for s, b in self.blocks.items()}
        return float(value) - float(self.constant.sum()), found

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        return self.cut(self._in_blocks(_draws, components, keys))

    def mean(self, components: Mapping[str, Components]) -> dict[str, Float[np.ndarray, "n ..."]]:
        return self.cut(self._in_blocks(_means, components))

    def power(self, source: str) -> float:
        A = self.A[..., self.blocks[source]]
        return float(np.sum(self.y**2) / max(np.sum(A**2), 1e-300))

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        residual = self.y - np.einsum("nij,nj->ni", self.A, stack_samples(samples, self.sources, self.n))
        return (residual**2).sum(1) / np.maximum(self.count, 1)

    def cost(self, components: Mapping[str, Components]) -> float:
        systems, m = self.combinations(components), self.y.shape[1]
        if systems > self.exhaustive:
            depth = ceil(log2(max(len(components[s]) for s in self.sources)))
            systems = _SOME * (1 + _SEARCH * 2 ** len(self.sources) * depth)
        return systems * system_operations(self.n, m)

    def _in_blocks(self, function, components: Mapping[str, Components], *each: Array) -> np.ndarray:
        parts = self._jobs(function, components, *each)
        return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])[: self.n]

    def _jobs(self, function, components: Mapping[str, Components], *each: Array) -> list:
        """Calls a function on shares of the observations, cut into blocks that fit into the cache of a core.

        The last block is filled up with observations that say nothing.
        """
        every = self.combinations(components)
        search = every > self.exhaustive
        systems = _SOME * 2 ** len(self.sources) if search else every
        jobs = max(_JOBS, -(-self.n // MOST))
        block = max(1, min(-(-self.n // jobs), _SYSTEMS // systems))
        blocks = -(-self.n // (jobs * block))
        with jax.enable_x64(True):
            parts = [
                (
                    jnp.log(components[s].weights),
                    jnp.asarray(components[s].means),
                    jnp.asarray(components[s].covariances),
                )
                for s in self.sources
            ]
            trees = [component_tree(components[s]) for s in self.sources] if search else None

        def call(job: int):
            rows = (job * blocks * block + np.arange(blocks * block)).reshape(blocks, block)
            kept = rows < self.n
            rows = np.minimum(rows, self.n - 1)
            A, y = self.A[rows] * kept[..., None, None], self.y[rows] * kept[..., None]
            with jax.enable_x64(True):
                A = [jnp.asarray(A[..., self.blocks[s]]) for s in self.sources]
                out = function(parts, trees, A, jnp.asarray(y), jnp.asarray(kept), *[e[rows] for e in each])
                return jax.tree.map(np.asarray, out)

        found = dict(side_by_side(call, range(jobs), alike=True))
        return [found[job] for job in range(jobs)]


def _chosen(parts, trees, A, y):
    """Combinations of components that count for one observation, the last source running fastest."""
    if trees is None:
        return jnp.asarray(list(product(*[range(len(part[0])) for part in parts])))
    return jax.lax.stop_gradient(likeliest(trees, A, y, _SOME))


def _evidence(parts, trees, A, y):
    return jax.nn.logsumexp(gaussians(parts, A, y, _chosen(parts, trees, A, y))[0])


@jax.jit
def _log_likelihoods(parts, trees, A, y, kept):
    one = jax.vmap(lambda a, u: _evidence(parts, trees, a, u))
    return jax.lax.map(lambda block: one(*block), (A, y))


@jax.jit
def _derivatives(parts, trees, A, y, kept):
    def add(sums, block):
        a, u, kept = block

        def total(p):
            return jnp.sum(kept * jax.vmap(lambda a, u: _evidence(p, trees, a, u))(a, u))

        return jax.tree.map(jnp.add, sums, jax.value_and_grad(total)(parts)), None

    zero = (jnp.zeros((), y.dtype), jax.tree.map(jnp.zeros_like, parts))
    return jax.lax.scan(add, zero, (A, y, kept))[0]


@jax.jit
def _derivatives_of_one(A, y, mean, covariance):
    def one(A, y):
        L = cholesky(jnp.eye(len(y), dtype=A.dtype) + A @ covariance @ A.T)
        V = jax.vmap(partial(solve_lower, L), in_axes=1, out_axes=1)(A)
        a = solve_lower(L, y - A @ mean)
        return V.T @ a, V, -0.5 * a @ a - jnp.sum(jnp.log(jnp.diagonal(L)))

    g, V, log_likelihood = jax.vmap(one)(A, y)
    V = V.reshape(-1, V.shape[-1])
    return log_likelihood.sum(), g.sum(0), g.T @ g - V.T @ V


@jax.jit
def _means(parts, trees, A, y, kept):
    def one(A, y):
        # by Fisher's identity: responsibilities and what moves the means are derivatives of the evidence
        def evidence(moving):
            return _evidence([(*m, p[2]) for m, p in zip(moving, parts, strict=True)], trees, A, y)

        found = jax.grad(evidence)([p[:2] for p in parts])
        sources = zip(found, parts, strict=True)
        return jnp.concatenate([r @ p[1] + jnp.einsum("kij,kj->i", p[2], g) for (r, g), p in sources])

    return jax.lax.map(lambda block: jax.vmap(one)(*block), (A, y))


@jax.jit
def _draws(parts, trees, A, y, kept, keys):
    def one(A, y, key):
        candidates = _chosen(parts, trees, A, y)
        log_p, L = gaussians(parts, A, y, candidates)
        choice_key, noise_key, *source_keys = jax.random.split(key, 2 + len(parts))
        chosen = jax.random.categorical(choice_key, log_p)
        members = candidates[chosen]
        means = [p[1][k] for p, k in zip(parts, members, strict=True)]
        covariances = [p[2][k] for p, k in zip(parts, members, strict=True)]
        x = [
            mean + cholesky(S) @ jax.random.normal(k, mean.shape)
            for mean, S, k in zip(means, covariances, source_keys, strict=True)
        ]

        def forward(x):
            return sum(a @ u for a, u in zip(A, x, strict=True))

        def pull(r):
            v = solve_upper(L[chosen], solve_lower(L[chosen], r))
            return [S @ (a.T @ v) for S, a in zip(covariances, A, strict=True)], None

        return jnp.concatenate(matheron(x, y, jax.random.normal(noise_key, y.shape), forward, pull)[0])

    return jax.lax.map(lambda block: jax.vmap(one)(*block), (A, y, keys))
