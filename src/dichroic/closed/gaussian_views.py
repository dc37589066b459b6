"""What one view says about Gaussian sources, by the cheapest exact route there is.

Four routes: every observation its own small system, in compiled code; in dense algebra on the host, observations that
share operator, noise and mask, condensed to their first two moments, and observations that share operators alone
(`own_noise`); and, where dense matrices are out of the question, posterior draws by Matheron's rule with conjugate
gradients.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from dichroic.algebra import Gaussian, conjugate_gradient, matheron
from dichroic.algebra.small import cholesky, solve_lower
from dichroic.closed.gaussian_view import DenseView, ViewStatistics
from dichroic.closed.moment_start import Moments
from dichroic.closed.own_noise import OwnNoise
from dichroic.closed.statistics import Belief, Statistics
from dichroic.operators import count_samples, take
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.view import (
    Group,
    chi_square_of_groups,
    group_alike,
    grouped,
    has_weights,
    stack_samples,
    stacked,
)

__all__ = ["bind_dense", "bind_view", "bind_views"]

_SMALL = 16  # systems up to this size can be solved one per observation, in compiled code
_DENSE = 4096  # above this many unknowns or data, no dense matrix
_BUDGET = 2e12  # floating-point operations per lap that the dense routes may cost
_CALL, _CALLS = 1e6, 3e7  # the same, for what an observation, and a group or compiled code, cost whatever their size
_KEPT = 1 << 27  # entries of all matrices of groups up to which they are kept: one gibibyte


def bind_views(
    views: Sequence[View], shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int
) -> list[ViewStatistics]:
    """Chooses a route for every view. Draws do not pool with moments: where one view needs draws, all give them."""
    bound = [bind_view(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    if any(view.draws_only for view in bound):
        return [_MatrixFree(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    return bound


def bind_view(view: View, shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int) -> ViewStatistics:
    """Chooses the route for a view by itself, the one that costs least."""
    unknowns, data = sum(int(np.prod(shapes[s])) for s in view.mixing), view.data_size
    dense = dense_routes(view, shapes)
    routes = {name: route for name, route in dense.items() if route[0] <= _BUDGET}
    if min(data, unknowns) <= _SMALL and max(data, unknowns) <= 4 * _SMALL:
        each = 10.0 * (data**3 + 12 * data**2) + 2.0 * data * unknowns * (data + unknowns)
        routes["per observation"] = _CALLS + len(view) * each, lambda: _PerObservation(view, shapes)
    return cheapest(routes) or _MatrixFree(view, shapes, subset, seed)


def bind_dense(view: View, shapes: Mapping[str, tuple[int, ...]], budget: float) -> DenseView | None:
    """The cheaper of the routes that factorise systems on the host, None where it costs more than `budget` operations
    or its matrices are too large.
    """
    return cheapest({name: route for name, route in dense_routes(view, shapes).items() if route[0] <= budget})


def dense_routes(view: View, shapes: Mapping[str, tuple[int, ...]]) -> "dict[str, tuple[float, Callable]]":
    """The routes that factorise systems on the host: floating-point operations of a lap, and how it is bound."""
    unknowns, data = sum(int(np.prod(shapes[s])) for s in view.mixing), view.data_size
    if max(data, unknowns) > _DENSE:
        return {}
    groups = group_alike(view)
    together = len(groups) * (2.0 * data**2 * unknowns + 2.0 * unknowns**2 * data + _CALLS)
    routes = {"grouped": (together, lambda: _Grouped(view, shapes, groups))}
    if has_weights(view):
        alone = float((view.counts.astype(float) ** 3 + _CALL).sum())
        routes["own noise"] = alone, lambda: OwnNoise(view, shapes)
    return routes


def cheapest(routes: "Mapping[str, tuple[float, Callable]]") -> Any:
    """The view bound by the route that costs least, None where there is none."""
    return min(routes.values(), key=lambda route: route[0])[1]() if routes else None


class _PerObservation(ViewStatistics):
    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        found = stacked(view, shapes)
        self.A, self.y = found.A, found.y
        self.count = float(found.count.sum())

    def believe(self, populations: Mapping[str, Gaussian], lap: int) -> Belief:
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
class _Condensed:
    """Observations with the same operators, noise and mask: only their first two moments matter."""

    A: Float[np.ndarray, "m d"]
    n: int
    total: Float[np.ndarray, " m"]
    second: Float[np.ndarray, "m m"]
    count: float

    @classmethod
    def of(cls, group: Group) -> "_Condensed":
        return cls(group.A, len(group.y), group.y.sum(0), group.y.T @ group.y, group.count * len(group.y))


class _Grouped(DenseView):
    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray]):
        super().__init__(view, shapes)
        self.indices = indices
        m, d = view.data_size, sum(int(np.prod(shapes[s])) for s in view.mixing)
        self.fits = len(indices) * m * (m + d) <= _KEPT

    @cached_property
    def kept(self) -> list[_Condensed] | None:
        """All groups, None where they do not fit into memory."""
        return [_Condensed.of(group) for group in self._groups()] if self.fits else None

    @property
    def groups(self) -> Iterable[_Condensed]:
        """The groups, made anew every time where they are not kept."""
        return map(_Condensed.of, self._groups()) if self.kept is None else self.kept

    def _groups(self) -> Iterator[Group]:
        for members in self.indices:
            yield from grouped(self.view, self.shapes, [members])

    def believe(self, populations: Mapping[str, Gaussian], lap: int) -> Belief:
        mean, S = self.stack(populations)
        n, first, second, log_likelihood, count = 0, 0.0, 0.0, 0.0, 0.0
        for g in self.groups:
            AS = g.A @ S
            L = _data_factor(g.A, S)
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

    def moments(self) -> list[Moments] | None:
        if self.kept is None:
            return None
        return [
            Moments.of_group({s: g.A[:, block] for s, block in self.blocks.items()}, g.n, g.total, g.second)
            for g in self.kept
        ]

    def power(self, source: str) -> float:
        data = scale = 0.0
        for g in self.groups:
            data += np.trace(g.second)
            scale += g.n * np.sum(g.A[:, self.blocks[source]] ** 2)
        return float(data / max(scale, 1e-300))

    def pull(
        self, populations: Mapping[str, Gaussian], x: Float[np.ndarray, "n d"], noise: Float[np.ndarray, "n m"]
    ) -> Float[np.ndarray, "n d"]:
        _, S = self.stack(populations)
        out = np.empty_like(x)
        for g in self._groups():
            residual = g.y - x[g.members] @ g.A.T - noise[np.ix_(g.members, g.values)]
            out[g.members] = (
                scipy.linalg.cho_solve((_data_factor(g.A, S), True), residual.T, check_finite=False).T @ g.A
            )
        return out

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        return chi_square_of_groups(self._groups(), stack_samples(samples, self.sources, len(self.view)))


def _data_factor(A: Float[np.ndarray, "m d"], S: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "m m"]:
    C = np.eye(len(A)) + A @ S @ A.T
    return np.asarray(scipy.linalg.cholesky(C, lower=True, overwrite_a=True, check_finite=False))


class _MatrixFree(ViewStatistics):
    draws_only = True

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int):
        super().__init__(view.subset(subset, seed), shapes)
        self.key = jax.random.key(seed)

    def believe(self, populations: Mapping[str, Gaussian], lap: int) -> Belief:
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

            zero = jax.tree.map(jnp.zeros_like, x)
            noise = jax.random.normal(noise_key, w.y.shape)
            return matheron(x, w.y, noise, w.forward, lambda r: conjugate_gradient(product, r, zero, 50))[0]

        return jax.vmap(one)(jnp.arange(len(keys)), keys)

    def power(self, source: str) -> float:
        observations = self.view.select(np.arange(min(8, len(self.view)))).observations
        probe = jax.random.normal(self.key, self.shapes[source])

        def one(i):
            w = WhitenedObservation.unscaled(take(observations, i), self.shapes)
            return jnp.sum(w.y**2), jnp.sum(w.forward({source: probe}) ** 2)

        data, gain = jax.vmap(one)(jnp.arange(count_samples(observations) or 1))
        return float(data.sum() / jnp.maximum(gain.sum(), 1e-30))


def _thin(population: Gaussian) -> tuple[Array, ...]:
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
