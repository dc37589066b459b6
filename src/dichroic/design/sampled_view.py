"""Views with any operators, observation by observation: all of them, or as many at random as the budget allows."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.design.design_views import ENTRIES, Block, DesignView, on_device
from dichroic.design.peel import lift
from dichroic.operators import DiagonalNoise, PerSample, take
from dichroic.problem import View
from dichroic.white import WhitenedObservation

__all__ = ["SampledView"]

_FLOPS = 1e11  # that going through the observations may cost
_FEWEST = 4  # observations that are gone through all the same
_KEPT = 1 << 23  # entries of all matrices up to which they are computed once
_DENSE = 4096  # unknowns above which no matrix of an observation is formed


class SampledView(DesignView):
    """Every observation for itself."""

    def __init__(self, name: str, view: View, shapes: Mapping[str, tuple[int, ...]], seed: int):
        super().__init__(name, view, shapes, seed)
        each = self.data * self.unknowns * (self.unknowns if self.unknowns <= _DENSE else 4096)
        self.used = int(min(self.n, max(_FEWEST, _FLOPS / each)))
        self._kept: np.ndarray | None = None

    def extend(self, times: int) -> bool:
        """Looks at more observations from now on; False when there are no more."""
        before, self.used, self._kept = self.used, min(self.n, self.used * times), None
        return self.used > before

    @cached_property
    def noise(self) -> float:
        """See `DesignView`."""
        index = self.order[:256]
        view = self.view.select(index)
        seen = np.ones(view.y.shape, bool) if view.observed is None else view.observed
        noise = view.noise.value if isinstance(view.noise, PerSample) else view.noise
        if isinstance(noise, DiagonalNoise):
            std = lift(noise.std, seen.ndim - 1, isinstance(view.noise, PerSample))
            return float(np.sqrt(seen.mean() / np.mean(seen / np.asarray(std, float) ** 2)))
        # random signs, whitened, have the trace of the inverse covariance for their sum of squares, on average
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=seen.shape)
        with jax.enable_x64(True):
            white = _whitened_signs(on_device(view.observations), jnp.arange(len(index)), jnp.asarray(signs))
            return float(jnp.sqrt(seen.sum() / jnp.sum(jnp.abs(white) ** 2)))

    def matrices(self, most: int) -> Iterator[Float[np.ndarray, "k m D"]]:
        """`M_i` of the first `most` of the chosen observations."""
        if self._kept is not None:
            yield self._kept[:most]
            return
        step = max(1, min(8192, ENTRIES // (self.data * self.unknowns)))
        kept = []
        for index in self._slices(most, step):
            with jax.enable_x64(True):
                observations = on_device(self.view.select(index).observations)
                kept.append(self.noise * np.asarray(_matrices(observations, jnp.arange(len(index)), self._shapes)))
            yield kept[-1]
            if most * self.data * self.unknowns > _KEPT:
                kept.clear()
        if kept and most == self.used:
            self._kept = np.concatenate(kept)

    def product(self, x: Block) -> Block:
        """See `DesignView`."""
        k = len(next(iter(x.values())))
        return self._sum(self._slices(self.used, max(1, ENTRIES // (k * max(self.data, self.unknowns)))), x)

    def single(self, i: int, x: Block) -> Block:
        """See `DesignView`."""
        return self._sum([np.array([i])], x)

    def _sum(self, portions: Any, x: Block) -> Block:
        out: Block = dict.fromkeys(self.sources, 0.0)
        n = 0
        with jax.enable_x64(True):
            given = {s: jnp.asarray(x[s], float) for s in self.sources}
            for index in portions:
                observations = on_device(self.view.select(index).observations)
                part = _normal(observations, jnp.arange(len(index)), self._shapes, given)
                out, n = {s: out[s] + np.asarray(part[s]) for s in out}, n + len(index)
        return {s: self.noise**2 / n * out[s] for s in out}

    def gram(self) -> Float[np.ndarray, "D D"]:
        """See `DesignView`."""
        G = np.zeros((self.unknowns, self.unknowns))
        for M in self.matrices(self.used):
            flat = M.reshape(-1, self.unknowns)
            G += flat.T @ flat
        return G / self.used

    def grams(self, entries: Mapping[str, np.ndarray], most: int) -> Iterator[Float[np.ndarray, "k r r"]]:
        """See `DesignView`."""
        most = min(most, self.used)
        if self.unknowns <= _DENSE:
            columns = np.concatenate([self.blocks[s].start + entries[s] for s in self.sources])
            for M in self.matrices(most):
                M = M[:, :, columns]
                yield M.swapaxes(1, 2) @ M
            return
        units = {s: self.units(s, entries[s]) for s in self.sources}
        for i in self.order[:most]:
            with jax.enable_x64(True):
                observation = on_device(take(self.view.observations, int(i)))
                M = self.noise * np.asarray(_columns(observation, self._shapes, on_device(units)))
            yield (M @ M.T)[None]

    @property
    def _shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return tuple(self.shapes.items())

    def _slices(self, most: int, step: int) -> Iterator[np.ndarray]:
        for begin in range(0, most, step):
            yield self.order[begin : min(begin + step, most)]


@eqx.filter_jit
def _matrices(observations: Any, index: Array, shapes: Any) -> Array:
    return jax.vmap(lambda i: WhitenedObservation.unscaled(take(observations, i), dict(shapes)).matrix())(index)


@eqx.filter_jit
def _normal(observations: Any, index: Array, shapes: Any, x: dict[str, Array]) -> dict[str, Array]:
    def one(i):
        w = WhitenedObservation.unscaled(take(observations, i), dict(shapes))
        return jax.vmap(lambda z: w.adjoint(w.forward(z)))(x)

    return jax.tree.map(lambda a: a.sum(0), jax.vmap(one)(index))


@eqx.filter_jit
def _columns(observation: Any, shapes: Any, units: dict[str, Array]) -> Array:
    w = WhitenedObservation.unscaled(observation, dict(shapes))
    return jnp.concatenate([jax.vmap(lambda e, s=s: w.forward({s: e}))(units[s]) for s, _ in shapes])


@eqx.filter_jit
def _whitened_signs(observations: Any, index: Array, signs: Array) -> Array:
    def one(i, z):
        observation = take(observations, i)
        z = observation.noise.whiten(jnp.where(observation.observed, z, 0).astype(observation.y.dtype))
        return jnp.where(observation.observed, z, 0)

    return jax.vmap(one)(index, signs)
