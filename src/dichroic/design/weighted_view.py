r"""Views whose operators differ between observations by entrywise factors only, :math:`A_{is} = w_{is} B_s`.

.. math:: \overline{M_s^\top M_t} = \sum_g B_{gs}^\top\, \mathrm{diag}(\overline{w_s^* w_t})_g\, B_{gt} ,

the sum being over the few kinds `g` of cores: factors are averaged, over all observations, and cores applied once.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.design.design_views import ENTRIES, Block, DesignView
from dichroic.operators import take
from dichroic.problem import View
from dichroic.white.arrays import widen
from dichroic.white.layout import diagonal_noise, kinds_of, peel

__all__ = ["WeightedView"]

_GROUPS = 16  # kinds of cores that are told apart


class WeightedView(DesignView):
    """Entrywise factors behind a few cores."""

    factors: Mapping[str, list[np.ndarray]]  # of the operators
    white: list[np.ndarray]  # of noise and missing entries
    groups: list[tuple[np.ndarray, dict[str, Any]]]  # observations, and their cores

    @classmethod
    def of(cls, name: str, view: View, shapes: Mapping[str, tuple[int, ...]], seed: int) -> "WeightedView | None":
        """None where the view is not of this kind."""
        if (std := diagonal_noise(view)) is None:
            return None
        peeled = {s: peel(operator, len(view.event_shape)) for s, operator in view.mixing.items() if s in shapes}
        cores = {s: core for s, (_, core) in peeled.items()}
        members = kinds_of(cores, len(view), _GROUPS)
        if len(members) > _GROUPS:
            return None
        self = cls(name, view, shapes, seed)
        self.used = self.n
        self.factors = {s: factors for s, (factors, _) in peeled.items()}
        self.white = [std]
        if view.observed is not None:
            self.white.append(view.observed[:1] if view.common_mask else view.observed)
        self.groups = [(group, take(cores, int(group[0]))) for group in members]
        return self

    @cached_property
    def noise(self) -> float:
        """See `DesignView`."""
        power = observed = 0.0
        for index in self._slices(np.arange(self.n)):
            w = self._white(index)
            power += len(index) * float(np.mean(w**2))
            observed += len(index) * float(np.mean(w > 0))
        return float(np.sqrt(observed / power))

    def weights(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Factors in units of the noise, `{source: (1 or k, ...)}`."""
        white = self.noise * self._white(index)
        return {s: _times(white, factors, index) for s, factors in self.factors.items()}

    @cached_property
    def moments(self) -> list[dict[tuple[str, str], np.ndarray]]:
        """For every kind of cores, the products of two sources' factors, summed over its observations and over `n`."""
        pairs = [(s, t) for s in self.sources for t in self.sources]
        found = []
        for members, _ in self.groups:
            sums: dict[tuple[str, str], Any] = dict.fromkeys(pairs, 0.0)
            for index in self._slices(members):
                w = self.weights(index)
                for s, t in pairs:
                    product = np.conj(w[s]) * w[t]
                    sums[s, t] = sums[s, t] + len(index) / len(product) * product.sum(0) / self.n
            found.append(sums)
        return found

    def product(self, x: Block) -> Block:
        """See `DesignView`."""
        return self._sum([(cores, w) for (_, cores), w in zip(self.groups, self.moments, strict=True)], x)

    def single(self, i: int, x: Block) -> Block:
        """See `DesignView`."""
        w = {s: a[0] for s, a in self.weights(np.array([i])).items()}
        pairs = {(s, t): np.conj(w[s]) * w[t] for s in w for t in w}
        return self._sum([(cores, pairs) for members, cores in self.groups if i in members], x)

    def _sum(self, terms: list[tuple[Any, Any]], x: Block) -> Block:
        out: Block = dict.fromkeys(self.sources, 0.0)
        with jax.enable_x64(True):
            given = {s: jnp.asarray(x[s], float) for s in self.sources}
            for cores, w in terms:
                part = _product(widen(cores), widen(w), given)
                out = {s: out[s] + np.asarray(part[s]) for s in out}
        return out

    def gram(self) -> Float[np.ndarray, "D D"]:
        """See `DesignView`."""
        G, at, event = np.zeros((self.unknowns, self.unknowns)), self.blocks, self.view.event_shape
        for (_, cores), moments in zip(self.groups, self.moments, strict=True):
            images = {
                s: self._images(core, s, np.arange(self.sizes[s])) for s, core in cores.items() if core is not None
            }
            for (s, t), w in moments.items():
                w = np.broadcast_to(w, event).ravel()
                if s not in images and t not in images:
                    G[at[s], at[t]] += np.diag(np.real(w))
                elif s not in images:
                    G[at[s], at[t]] += np.real(w[:, None] * images[t].T)
                else:
                    left = images[s].conj() * w
                    G[at[s], at[t]] += np.real(left @ images[t].T if t in images else left)
        return G

    def grams(self, entries: Mapping[str, np.ndarray], most: int) -> Iterator[Float[np.ndarray, "k r r"]]:
        """See `DesignView`."""
        for members, cores in self.groups:
            chosen = np.intersect1d(self.order[:most], members)
            images = [self._images(cores[s], s, entries[s]) for s in self.sources]
            # most rows are zero: an entry leaves its trace around its place only
            rows = np.flatnonzero(sum((np.abs(B) > 1e-12 * np.abs(B).max(initial=0)).sum(0) for B in images))
            images = [B[:, rows] for B in images]
            each = sum(B.size for B in images)
            for index in self._slices(chosen, each):
                w = [self._rows(a, rows) for a in self.weights(index).values()]
                k = max(map(len, w))
                M = [np.broadcast_to(B * a[:, None], (k, *B.shape)) for B, a in zip(images, w, strict=True)]
                M = np.concatenate(M, axis=1)
                C = np.real(M.conj() @ M.swapaxes(1, 2))
                yield np.broadcast_to(C, (len(index), *C.shape[1:]))

    def _rows(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if w[0].size == 1:
            return w.reshape(len(w), 1)
        return np.broadcast_to(w, (len(w), *self.view.event_shape)).reshape(len(w), -1)[:, rows]

    def _images(self, core: Any, source: str, entries: np.ndarray) -> np.ndarray:
        """What the core makes of single entries of a source, one row each."""
        x = self.units(source, entries)
        if core is not None:
            with jax.enable_x64(True):
                x = np.asarray(_forward(widen(core), jnp.asarray(x)))
        return x.reshape(len(x), -1)

    def _white(self, index: np.ndarray) -> np.ndarray:
        std, *observed = self.white
        return _times(1 / (std if len(std) == 1 else std[index]), observed, index)

    def _slices(self, index: np.ndarray, each: int = 0) -> Iterator[np.ndarray]:
        """Observations in portions that fit into memory; all at once where they are the same."""
        parts = [*self.white, *(factor for factors in self.factors.values() for factor in factors)]
        each = max(each, *(part[0].size for part in parts))
        step = max(1, len(index) if all(len(part) == 1 for part in parts) else ENTRIES // each)
        for begin in range(0, len(index), step):
            yield index[begin : begin + step]


def _times(w: np.ndarray, parts: list[np.ndarray], index: np.ndarray) -> np.ndarray:
    for part in parts:
        w = w * (part if len(part) == 1 else part[index])
    return w


@eqx.filter_jit
def _product(cores: Any, w: Any, x: dict[str, Array]) -> dict[str, Array]:
    images = {s: x[s] if core is None else jax.vmap(core)(x[s]) for s, core in cores.items()}
    out = {}
    for s, core in cores.items():
        u = w[s, s] * images[s]
        for t in cores:
            u = u + w[s, t] * images[t] if t != s else u
        out[s] = u.real if core is None else jax.vmap(core.T)(u.astype(core.out_struct.dtype)).real
    return out


@eqx.filter_jit
def _forward(core: Any, x: Array) -> Array:
    return jax.vmap(core)(x)
