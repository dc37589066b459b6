"""Views too large for matrices: draws instead of moments, for Gaussian sources of few leading directions."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dichroic.algebra import Gaussian, conjugate_gradient, matheron
from dichroic.closed.evidence import Evidence
from dichroic.closed.statistics import Belief, Statistics
from dichroic.operators import count_samples, take
from dichroic.problem import View
from dichroic.white import WhitenedObservation

__all__ = ["MatrixFree"]


class MatrixFree(Evidence):
    """Posterior draws of `subset` of the observations, by Matheron's rule with conjugate gradients."""

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

    def _none(self, *_: Any) -> Any:
        raise NotImplementedError("a view without matrices gives draws of Gaussian sources, and nothing else")

    log_likelihood = statistics = draw = mean = chi_square = cost = _none  # pyright: ignore

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
            return w.y, w.forward({source: probe})

        # squares of single precision leave its range from units of 1e-19 on
        data, gain = (
            np.square(x, dtype=float).sum() for x in jax.vmap(one)(jnp.arange(count_samples(observations) or 1))
        )
        return float(data / max(gain, 1e-300))


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
