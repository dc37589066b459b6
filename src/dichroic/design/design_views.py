r"""One view as the design of a problem: the mean over its observations of :math:`M_i^\top M_i`.

:math:`M_i = \tau W_i (A_{i1}, \ldots, A_{iS})` are the operators of one observation in units of the noise, the typical
noise :math:`\tau` of the view taken out again: what can be told apart is a matter of the operators and of where and
when the noise is larger, not of how good an instrument is. Missing entries have a zero row, complex ones count twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.problem import View, blocks_of

__all__ = ["Block", "DesignView", "on_device"]

Block = dict[str, Any]  # patterns of every source, {source: (k, *shape)}

ENTRIES = 1 << 22  # of any array that observations are put into side by side


class DesignView(ABC):
    """One view: `sources` that are to be learned, `n` observations of which `used` are looked at."""

    def __init__(self, name: str, view: View, shapes: Mapping[str, tuple[int, ...]], seed: int):
        self.name, self.view, self.n = name, view, len(view)
        self.shapes = {s: tuple(shape) for s, shape in shapes.items() if s in view.mixing}
        self.sources = list(self.shapes)
        self.blocks = blocks_of(self.shapes)
        self.sizes = {s: int(np.prod(shape)) for s, shape in self.shapes.items()}
        self.unknowns = sum(self.sizes.values())
        self.data = view.data_size
        self.used = self.n
        self.order = np.random.default_rng(seed).permutation(self.n)

    @property
    @abstractmethod
    def noise(self) -> float:
        r"""The typical noise :math:`\tau`, in the unit of the observations: the harmonic mean of its variance."""

    @abstractmethod
    def product(self, x: Block) -> Block:
        """The mean of `M^T M` times several patterns, in double precision."""

    @abstractmethod
    def gram(self) -> Float[np.ndarray, "D D"]:
        """The same as a matrix over the stacked sources of this view."""

    @abstractmethod
    def grams(self, entries: Mapping[str, np.ndarray], most: int) -> Iterator[Float[np.ndarray, "k r r"]]:
        """`M_i^T M_i` of single observations (`most` of them, at random) between some entries of every source."""

    @abstractmethod
    def single(self, i: int, x: Block) -> Block:
        """`M_i^T M_i` of one observation times several patterns."""

    def units(self, source: str, entries: np.ndarray) -> Float[np.ndarray, "r ..."]:
        """Patterns of a source that are zero but for one entry each."""
        x = np.zeros((len(entries), self.sizes[source]))
        x[np.arange(len(entries)), entries] = 1
        return x.reshape(len(entries), *self.shapes[source])


def on_device(tree: Any) -> Any:
    """Arrays in double precision, for compiled code (inside `jax.enable_x64` only)."""

    def widen(leaf: Any) -> Array:
        a = np.asarray(leaf)
        kind = complex if np.iscomplexobj(a) else float if np.issubdtype(a.dtype, np.floating) else a.dtype
        return jnp.asarray(a.astype(kind))

    return jax.tree.map(lambda leaf: widen(leaf) if eqx.is_array_like(leaf) else leaf, tree)
