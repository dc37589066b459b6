r"""One view as the design of a problem: the mean over its observations of :math:`M_i^\top M_i`.

:math:`M_i = \tau W_i (A_{i1}, \ldots, A_{iS})` are the operators of one observation in units of the noise, the typical
noise :math:`\tau` of the view taken out again: what can be told apart is a matter of the operators and of where and
when the noise is larger, not of how good an instrument is. Missing entries have a zero row, complex ones count twice.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic import memory
from dichroic.operators import take
from dichroic.problem import View, blocks_of
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import white_matrices, widen
from dichroic.white.layout import diagonal_noise

__all__ = ["Block", "DesignView"]

Block = dict[str, Any]  # patterns of every source, {source: (k, *shape)}

ENTRIES = 1 << 22  # of any array that observations are put into side by side
FLOPS = 1e11  # that going through the observations of a view one by one may cost
_FEWEST = 4  # observations that are gone through all the same
_KEPT = 1 << 23  # entries of all matrices up to which they are computed once
_DENSE = 4096  # unknowns above which no matrix of an observation is formed


class DesignView:
    """One view of any operators: `sources` that are to be learned, and `n` observations, of which `used` are looked at
    one by one: all of them, or as many at random as the budget allows.
    """

    def __init__(self, name: str, view: View, shapes: Mapping[str, tuple[int, ...]], seed: int):
        self.name, self.view, self.n = name, view, len(view)
        self.shapes = {s: tuple(shape) for s, shape in shapes.items() if s in view.mixing}
        self.sources = list(self.shapes)
        self.blocks = blocks_of(self.shapes)
        self.sizes = {s: int(np.prod(shape)) for s, shape in self.shapes.items()}
        self.unknowns = sum(self.sizes.values())
        self.data = view.data_size
        each = self.data * self.unknowns * (self.unknowns if memory.dense(self.unknowns, _DENSE) else 4096)
        self.used = int(min(self.n, max(_FEWEST, FLOPS / each)))
        self.order = np.random.default_rng(seed).permutation(self.n)
        self._kept: np.ndarray | None = None

    def extend(self, times: int) -> bool:
        """Looks at more observations from now on; False when there are no more."""
        before, self.used, self._kept = self.used, min(self.n, self.used * times), None
        return self.used > before

    @cached_property
    def noise(self) -> float:
        r"""The typical noise :math:`\tau`, in the unit of the observations: the harmonic mean of its variance."""
        index = self.order[:256]
        view = self.view.select(index)
        seen = np.ones(view.y.shape, bool) if view.observed is None else view.observed
        if (std := diagonal_noise(view)) is not None:
            return float(np.sqrt(seen.mean() / np.mean(seen / std**2)))
        # random signs, whitened, have the trace of the inverse covariance for their sum of squares, on average
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=seen.shape)
        with jax.enable_x64(True):
            white = _whitened_signs(widen(view.observations), jnp.arange(len(index)), jnp.asarray(signs))
            return float(jnp.sqrt(seen.sum() / jnp.sum(jnp.abs(white) ** 2)))

    def matrices(self, most: int) -> Iterator[Float[np.ndarray, "k m D"]]:
        """`M_i` of the first `most` of the chosen observations."""
        if self._kept is not None:
            yield self._kept[:most]
            return
        step = max(1, min(8192, ENTRIES // (self.data * self.unknowns)))
        kept = []
        for index in self._portions(most, step):
            with jax.enable_x64(True):
                observations = widen(self.view.select(index).observations)
                kept.append(self.noise * np.asarray(white_matrices(observations, jnp.arange(len(index)), self._shapes)))
            yield kept[-1]
            if most * self.data * self.unknowns > _KEPT:
                kept.clear()
        if kept and most == self.used:
            self._kept = np.concatenate(kept)

    def product(self, x: Block) -> Block:
        """The mean of `M^T M` times several patterns, in double precision."""
        k = len(next(iter(x.values())))
        return self._average(self._portions(self.used, max(1, ENTRIES // (k * max(self.data, self.unknowns)))), x)

    def single(self, i: int, x: Block) -> Block:
        """`M_i^T M_i` of one observation times several patterns."""
        return self._average([np.array([i])], x)

    def _average(self, portions: Any, x: Block) -> Block:
        out: Block = dict.fromkeys(self.sources, 0.0)
        n = 0
        with jax.enable_x64(True):
            given = {s: jnp.asarray(x[s], float) for s in self.sources}
            for index in portions:
                observations = widen(self.view.select(index).observations)
                part = _normal(observations, jnp.arange(len(index)), self._shapes, given)
                out, n = {s: out[s] + np.asarray(part[s]) for s in out}, n + len(index)
        return {s: self.noise**2 / n * out[s] for s in out}

    def gram(self) -> Float[np.ndarray, "D D"]:
        """The same as a matrix over the stacked sources of this view."""
        G = np.zeros((self.unknowns, self.unknowns))
        for M in self.matrices(self.used):
            flat = M.reshape(-1, self.unknowns)
            G += flat.T @ flat
        return G / self.used

    def grams(self, entries: Mapping[str, np.ndarray], most: int) -> Iterator[Float[np.ndarray, "k r r"]]:
        """`M_i^T M_i` of single observations (`most` of them, at random) between some entries of every source."""
        most = min(most, self.used)
        if memory.dense(self.unknowns, _DENSE):
            columns = np.concatenate([self.blocks[s].start + entries[s] for s in self.sources])
            for M in self.matrices(most):
                M = M[:, :, columns]
                yield M.swapaxes(1, 2) @ M
            return
        units = {s: self.units(s, entries[s]) for s in self.sources}
        for i in self.order[:most]:
            with jax.enable_x64(True):
                observation = widen(take(self.view.observations, int(i)))
                M = self.noise * np.asarray(_columns(observation, self._shapes, widen(units)))
            yield (M @ M.T)[None]

    def units(self, source: str, entries: np.ndarray) -> Float[np.ndarray, "r ..."]:
        """Patterns of a source that are zero but for one entry each."""
        x = np.zeros((len(entries), self.sizes[source]))
        x[np.arange(len(entries)), entries] = 1
        return x.reshape(len(entries), *self.shapes[source])

    @property
    def _shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return tuple(self.shapes.items())

    def _portions(self, most: int, step: int) -> Iterator[np.ndarray]:
        for begin in range(0, most, step):
            yield self.order[begin : min(begin + step, most)]


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
