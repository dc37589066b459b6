r"""A view in units of its noise, as plain NumPy arrays: where all checks after a fit live.

With :math:`W^* W = \Sigma^{-1}` the data are :math:`y' = W y = \sum_s A'_s x_s + n'`, :math:`n' \sim \mathcal N(0, I)`,
real and flat, missing entries being zero. Nothing here changes the observations; `with_data` makes new ones.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.operators import PerSample, take
from dichroic.problem import View
from dichroic.white import WhitenedObservation

__all__ = ["WhiteView", "generator"]

_ENTRIES = 2**24  # of the largest array that one call of a compiled program may make
_MATRICES = 2**26  # entries of the matrices of all observations that are formed


def generator(key: PRNGKeyArray) -> np.random.Generator:
    """NumPy's generator with the seed that a key is."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


class WhiteView:
    """A bound view and what can be done with it, `m` being the number of real values per observation.

    **Arguments:** `view`; `shapes`, of (at least) the sources that enter it.
    """

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        self.view = view
        self.shapes = {s: tuple(shapes[s]) for s in view.mixing}
        self._static = tuple(self.shapes.items())
        self._observations = view.observations

    def __len__(self) -> int:
        return len(self.view)

    @property
    def sources(self) -> list[str]:
        """Names of the sources that enter."""
        return list(self.shapes)

    @cached_property
    def observed(self) -> np.ndarray:
        """What was measured, shape `(n, m)`."""
        size = int(np.prod(self.view.event_shape))
        mask = np.ones((len(self), size), bool)
        if self.view.observed is not None:
            mask = np.asarray(self.view.observed).reshape(len(self), size)
        return np.concatenate([mask, mask], 1) if np.iscomplexobj(self.view.y) else mask

    @cached_property
    def count(self) -> np.ndarray:
        """Values measured per observation, shape `(n,)`."""
        return self.view.counts

    @cached_property
    def y(self) -> Float[np.ndarray, "n m"]:
        """The data in units of the noise."""
        return self._map(partial(_data, shapes=self._static), np.arange(len(self)), {})

    def mix(self, x: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> Float[np.ndarray, "k m"]:
        """The mixture of some sources (those in `x`), :math:`\\sum_s A'_s x_s`, without noise.

        **Arguments:** `x`, `{source: (k, ...)}`; `rows`, which observation's operators each of the `k` goes through
        (default: its own, `k` being `n`).
        """
        rows = np.arange(len(self)) if rows is None else rows
        inputs = {s: np.asarray(v, np.float32) for s, v in x.items()}
        return self._map(partial(_mix, shapes=self._static), rows, inputs)

    def white_noise(self, rng: np.random.Generator, rows: np.ndarray | None = None) -> np.ndarray:
        """A draw of the noise, in its own units."""
        mask = self.observed if rows is None else self.observed[rows]
        return np.where(mask, rng.standard_normal(mask.shape), 0)

    @property
    def can_be_dense(self) -> bool:
        """Whether the matrices of all observations fit into memory."""
        unknowns = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return len(self) * self.observed.shape[1] * unknowns <= _MATRICES

    def matrices(self) -> Float[np.ndarray, "n m d"]:
        """The operators of every observation as matrices, sources side by side."""
        rows = np.arange(len(self))
        blocks = self._map(partial(_matrices, shapes=self._static), rows, {})
        return blocks

    def with_data(self, white: np.ndarray, noise: float = 1.0) -> View:
        """A view with the same operators and mask and other data.

        **Arguments:** `white`, the data in units of the present noise, shape `(n, m)`; `noise`, how many times larger
        the noise is said to be.
        """
        rows, inputs = np.arange(len(self)), {"y": np.asarray(white, np.float32)}
        y = self._map(partial(_colour, shapes=self._static), rows, inputs)
        y = y.reshape(len(self), -1)
        if np.iscomplexobj(self.view.y):
            half = y.shape[1] // 2
            y = y[:, :half] + 1j * y[:, half:]
        y = y.reshape(self.view.y.shape).astype(self.view.y.dtype)
        v = self.view
        return View(y, v.mixing, _scaled(v.noise, noise), v.observed, {}, v.common_mask)

    def _map(self, function: Any, rows: np.ndarray, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        chunk = max(1, _ENTRIES // max(*sizes, int(np.prod(self.view.event_shape)), 1))
        if len(rows) <= chunk:
            return np.asarray(function(self._observations, rows, inputs), float)
        parts = []
        for begin in range(0, len(rows), chunk):
            # padded: one program serves all chunks
            take_ = np.minimum(np.arange(begin, begin + chunk), len(rows) - 1)
            out = function(self._observations, rows[take_], {s: v[take_] for s, v in inputs.items()})
            parts.append(np.asarray(out, float)[: len(rows) - begin])
        return np.concatenate(parts)


def _whitened(observations: Any, i: Any, shapes: Any) -> WhitenedObservation:
    return WhitenedObservation.unscaled(take(observations, i), dict(shapes))


@partial(jax.jit, static_argnames="shapes")
def _data(observations, rows, inputs, *, shapes):
    return jax.vmap(lambda i: _whitened(observations, i, shapes).y)(rows)


@partial(jax.jit, static_argnames="shapes")
def _mix(observations, rows, inputs, *, shapes):
    return jax.vmap(lambda i, x: _whitened(observations, i, shapes).forward(x))(rows, inputs)


@partial(jax.jit, static_argnames="shapes")
def _matrices(observations, rows, inputs, *, shapes):
    return jax.vmap(lambda i: _whitened(observations, i, shapes).matrix())(rows)


@partial(jax.jit, static_argnames="shapes")
def _colour(observations, rows, inputs, *, shapes):
    def one(i, inputs):
        observation = take(observations, i)
        y = jnp.asarray(observation.y)
        white = inputs["y"]
        if jnp.iscomplexobj(y):
            white = white[: y.size] + 1j * white[y.size :]
        out = observation.noise.unwhiten(white.reshape(y.shape)).reshape(-1)
        return jnp.concatenate([out.real, out.imag]) if jnp.iscomplexobj(y) else out

    return jax.vmap(one)(rows, inputs)


def _scaled(noise: Any, factor: float) -> Any:
    if factor == 1:
        return noise
    return PerSample(noise.value.scaled(factor)) if isinstance(noise, PerSample) else noise.scaled(factor)
