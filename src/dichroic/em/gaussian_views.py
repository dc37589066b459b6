"""What one view says about Gaussian sources, by the cheapest exact route there is.

Three routes: every observation its own small system, in compiled code; observations that share operator, noise and mask
condensed to their first two moments, in dense algebra on the host; and, where dense matrices are out of the question,
posterior draws by Matheron's rule with conjugate gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from dichroic.em.population import Belief, Population, Statistics
from dichroic.em.whitened_view import group_alike, grouped, stacked
from dichroic.linalg import cholesky, solve_lower
from dichroic.operators import count_samples, take
from dichroic.posterior import WhitenedObservation
from dichroic.posterior.krylov import conjugate_gradient
from dichroic.problem import View, blocks_of

__all__ = ["ViewStatistics", "bind_view", "bind_views"]

_SMALL = 16  # systems up to this size are solved one per observation, in compiled code
_DENSE = 4096  # above this many unknowns or data, no dense matrix
_BUDGET = 2e12  # floating-point operations per lap that the dense route may cost


class ViewStatistics(ABC):
    """One view, prepared for Gaussian EM."""

    draws_only = False

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.sources = list(view.mixing)
        self.shapes = {s: tuple(shapes[s]) for s in self.sources}
        self.blocks = blocks_of(self.shapes)
        self.view = view

    @abstractmethod
    def believe(self, populations: Mapping[str, Population], lap: int) -> Belief:
        """The E-step."""

    def moments(self) -> list[tuple[dict[str, np.ndarray], int, np.ndarray, np.ndarray]] | None:
        """Matrices, numbers and sums of groups that share operators, for `moment_start`; None on other routes."""
        return None

    @abstractmethod
    def power(self, source: str) -> float:
        """Variance that an isotropic source would need to explain the data by itself."""

    def stack(self, populations: Mapping[str, Population]) -> tuple[np.ndarray, np.ndarray]:
        """Stacked mean and block-diagonal covariance."""
        mean = np.concatenate([populations[s].mean for s in self.sources])
        return mean, np.asarray(scipy.linalg.block_diag(*[populations[s].covariance() for s in self.sources]))

    def unstack(self, n: int, first: np.ndarray, second: np.ndarray) -> dict[str, Statistics]:
        """Statistics per source from stacked ones."""
        return {s: Statistics(n, first[block], second[block, block]) for s, block in self.blocks.items()}


def bind_views(
    views: Sequence[View], shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int
) -> list[ViewStatistics]:
    """Chooses a route for every view. Draws do not pool with moments: where one view needs draws, all give them."""
    bound = [bind_view(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    if any(view.draws_only for view in bound):
        return [_MatrixFree(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    return bound


def bind_view(view: View, shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int) -> ViewStatistics:
    """Chooses the route for a view by itself."""
    unknowns = sum(int(np.prod(shapes[s])) for s in view.mixing)
    data = view.data_size
    if min(data, unknowns) <= _SMALL and max(data, unknowns) <= 4 * _SMALL:
        return _PerObservation(view, shapes)
    if max(data, unknowns) <= _DENSE:
        groups = group_alike(view)
        if len(groups) * (2 * data**2 * unknowns + 2 * unknowns**2 * data) < _BUDGET:
            return _Grouped(view, shapes, groups)
    return _MatrixFree(view, shapes, subset, seed)


class _PerObservation(ViewStatistics):
    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        found = stacked(view, shapes)
        self.A, self.y = found.A, found.y
        self.count = float(found.count.sum())

    def believe(self, populations: Mapping[str, Population], lap: int) -> Belief:
        mean, covariance = self.stack(populations)
        with jax.enable_x64(True):
            sums = _small_sums(self.A, self.y, jnp.asarray(mean), jnp.asarray(covariance))
            first, second, log_likelihood = (np.asarray(a) for a in sums)
        log_likelihood = float(log_likelihood) - 0.5 * self.count * np.log(2 * np.pi)
        return Belief(self.unstack(len(self.view), first, second), log_likelihood, self.count)

    def power(self, source: str) -> float:
        A = np.asarray(self.A)[..., self.blocks[source]]
        return float(np.sum(np.asarray(self.y) ** 2) / max(np.sum(A**2), 1e-300))


@jax.jit
def _small_sums(A, y, mean, covariance):
    def one(A, y):
        AS = A @ covariance
        L = cholesky(jnp.eye(len(y), dtype=A.dtype) + AS @ A.T)
        W = jax.vmap(partial(solve_lower, L), in_axes=1, out_axes=1)(AS)
        a = solve_lower(L, y - A @ mean)
        return mean + W.T @ a, W, -0.5 * a @ a - jnp.sum(jnp.log(jnp.diagonal(L)))

    means, W, log_likelihood = jax.vmap(one)(A, y)
    D = covariance.shape[0]
    shrink = W.reshape(-1, D).T @ W.reshape(-1, D)
    return means.sum(0), len(y) * covariance - shrink + means.T @ means, log_likelihood.sum()


@dataclass(frozen=True)
class _Moments:
    """Observations with the same operators, noise and mask: only their first two moments matter."""

    A: Float[np.ndarray, "m d"]
    n: int
    total: Float[np.ndarray, " m"]
    second: Float[np.ndarray, "m m"]
    count: float


class _Grouped(ViewStatistics):
    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray]):
        super().__init__(view, shapes)
        self.groups = [
            _Moments(g.A, len(g.y), g.y.sum(0), g.y.T @ g.y, g.count * len(g.y)) for g in grouped(view, shapes, indices)
        ]

    def believe(self, populations: Mapping[str, Population], lap: int) -> Belief:
        mean, S = self.stack(populations)
        n, first, second, log_likelihood, count = 0, 0.0, 0.0, 0.0, 0.0
        for g in self.groups:
            AS = g.A @ S
            L = scipy.linalg.cholesky(np.eye(len(g.A)) + AS @ g.A.T, lower=True, check_finite=False)
            W = scipy.linalg.solve_triangular(L, AS, lower=True, check_finite=False)
            shift = g.A @ mean
            moved = g.total - g.n * shift  # sum of residuals, and below their second moment
            cross = np.outer(g.total, shift)
            spread = g.second - cross - cross.T + g.n * np.outer(shift, shift)
            half = scipy.linalg.solve_triangular(L, spread, lower=True, check_finite=False)
            white = scipy.linalg.solve_triangular(L, half.T, lower=True, check_finite=False)
            step = W.T @ scipy.linalg.solve_triangular(L, moved, lower=True, check_finite=False)
            first += g.n * mean + step
            outer = np.outer(mean, step)
            second += g.n * (S + np.outer(mean, mean)) + outer + outer.T + W.T @ (white - g.n * np.eye(len(L))) @ W
            log_likelihood -= 0.5 * np.trace(white) + g.n * np.log(np.diag(L)).sum() + 0.5 * g.count * np.log(2 * np.pi)
            n, count = n + g.n, count + g.count
        return Belief(self.unstack(n, first, second), log_likelihood, count)  # pyright: ignore

    def moments(self) -> list[tuple[dict[str, np.ndarray], int, np.ndarray, np.ndarray]] | None:
        return [({s: g.A[:, block] for s, block in self.blocks.items()}, g.n, g.total, g.second) for g in self.groups]

    def power(self, source: str) -> float:
        scale = sum(g.n * np.sum(g.A[:, self.blocks[source]] ** 2) for g in self.groups)
        return float(sum(np.trace(g.second) for g in self.groups) / max(scale, 1e-300))


class _MatrixFree(ViewStatistics):
    draws_only = True

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int):
        super().__init__(view.subset(subset, seed), shapes)
        self.key = jax.random.key(seed)

    def believe(self, populations: Mapping[str, Population], lap: int) -> Belief:
        keys = jax.random.split(jax.random.fold_in(self.key, lap), len(self.view))
        trees = {s: _thin(populations[s]) for s in self.sources}
        statistics: dict[str, list[np.ndarray]] = {s: [] for s in self.sources}
        for begin in range(0, len(self.view), 32):
            members = np.arange(begin, min(begin + 32, len(self.view)))
            draws = self._draw(trees, self.view.select(members).observations, keys[members])
            for s, x in draws.items():
                statistics[s].append(np.asarray(x).reshape(len(members), -1))
        pooled = {s: np.concatenate(parts) for s, parts in statistics.items()}
        return Belief({s: Statistics(len(x), x.sum(0), draws=x) for s, x in pooled.items()}, 0.0, 1.0)

    @eqx.filter_jit
    def _draw(self, populations, observations, keys):
        def one(i, key):
            w = WhitenedObservation.unscaled(take(observations, i), self.shapes)
            noise_key, *source_keys = jax.random.split(key, 1 + len(self.sources))
            x = {
                s: _thin_draw(populations[s], k).reshape(self.shapes[s])
                for s, k in zip(self.sources, source_keys, strict=True)
            }

            def product(v):
                moved = {s: _thin_product(populations[s], u) for s, u in w.adjoint(v).items()}
                return v + w.forward(moved), moved

            residual = w.y - w.forward(x) - jax.random.normal(noise_key, w.y.shape)
            moved, _ = conjugate_gradient(product, residual, jax.tree.map(jnp.zeros_like, x), 50)
            return jax.tree.map(jnp.add, x, moved)

        return jax.vmap(one)(jnp.arange(len(keys)), keys)

    def power(self, source: str) -> float:
        observations = self.view.select(np.arange(min(8, len(self.view)))).observations
        probe = jax.random.normal(self.key, self.shapes[source])

        def one(i):
            w = WhitenedObservation.unscaled(take(observations, i), self.shapes)
            return jnp.sum(w.y**2), jnp.sum(w.forward({source: probe}) ** 2)

        data, gain = jax.vmap(one)(jnp.arange(count_samples(observations) or 1))
        return float(data.sum() / jnp.maximum(gain.sum(), 1e-30))


def _thin(population: Population) -> tuple[Array, ...]:
    parts = (population.mean, population.basis, population.values, np.asarray(population.rest))
    return tuple(jnp.asarray(a, jnp.float32) for a in parts)


def _thin_draw(population: tuple[Array, ...], key: Array) -> Array:
    mean, basis, values, rest = population
    white_key, leading_key = jax.random.split(key)
    white = jax.random.normal(white_key, mean.shape)
    inside = basis @ (basis.T @ white)
    leading = basis @ (jnp.sqrt(values) * jax.random.normal(leading_key, values.shape))
    return mean + jnp.sqrt(rest) * (white - inside) + leading


def _thin_product(population: tuple[Array, ...], u: Array) -> Array:
    _, basis, values, rest = population
    flat = u.reshape(-1)
    return (rest * flat + basis @ ((values - rest) * (basis.T @ flat))).reshape(u.shape)
