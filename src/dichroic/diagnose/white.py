r"""A view in units of its noise, as plain NumPy arrays: where all checks after a fit live.

With :math:`W^* W = \Sigma^{-1}` the data are :math:`y' = W y = \sum_s A'_s x_s + n'`, :math:`n' \sim \mathcal N(0, I)`,
real and flat, missing entries being zero. Nothing here changes the observations; `with_data` makes new ones.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic import memory
from dichroic.diagnose.ranks import RankCounter, normal_scores
from dichroic.operators import PerSample, take
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import white_data, white_matrices

__all__ = ["WhiteView", "generator"]

_ENTRIES = 2**24  # of the largest array that one call of a compiled program may make
_RANKED = 63  # draws that a residual of noise that is not Gaussian is ranked among
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
        return self._map(white_data, np.arange(len(self)))

    def mix(self, x: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> Float[np.ndarray, "k m"]:
        """The mixture of some sources (those in `x`), :math:`\\sum_s A'_s x_s`, without noise.

        **Arguments:** `x`, `{source: (k, ...)}`; `rows`, which observation's operators each of the `k` goes through
        (default: its own, `k` being `n`).
        """
        rows = np.arange(len(self)) if rows is None else rows
        inputs = {s: np.asarray(v, np.float32) for s, v in x.items()}
        return self._map(_mix, rows, inputs)

    def pull(self, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        r"""The score of Gaussian noise at some sources, :math:`A'^\top (y' - A' x)`, `{source: (n, ...)}`."""
        inputs = {s: np.asarray(v, np.float32) for s, v in x.items()}
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        flat = self._map(_pull, np.arange(len(self)), inputs)
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
        return {s: part.reshape(-1, *self.shapes[s]) for s, part in zip(self.shapes, parts, strict=True)}

    @property
    def is_gaussian(self) -> bool:
        """Whether the noise is, or else a Gaussian stands for it."""
        return self.view.gaussian is self.view

    def simulated(self, x: Mapping[str, np.ndarray], rng: np.random.Generator) -> View:
        """Observations of some sources, `{source: (n, ...)}`, made by the likelihood."""
        if self.is_gaussian:
            return self.with_data(self.mix(x) + self.white_noise(rng))
        inputs = {s: np.asarray(v, np.float32) for s, v in x.items()}
        keys = jax.random.split(jax.random.key(int(rng.integers(2**32))), len(self))
        return self._with(self._map(_sample, np.arange(len(self)), inputs, keys))

    def replayed(self, x: Mapping[str, np.ndarray], rng: np.random.Generator) -> Float[np.ndarray, "n m"]:
        """The same in units of the noise."""
        if self.is_gaussian:
            return self.mix(x) + self.white_noise(rng)
        return WhiteView(self.simulated(x, rng), self.shapes).y

    def residuals(self, x: Mapping[str, np.ndarray], rng: np.random.Generator) -> Float[np.ndarray, "n m"]:
        r"""What posterior draws of all sources leave of the data, standard normal where these are right.

        Of noise that is not Gaussian it is the normal score of each value among draws of :math:`p(y \mid A x)`, its
        probability integral transform.
        """
        if self.is_gaussian:
            return self.y - self.mix(x)
        counter = RankCounter(self._flat(self.view.y))
        finite = np.all([np.isfinite(v.reshape(len(v), -1)).all(1) for v in x.values()], axis=0)
        for _ in range(_RANKED):
            counter.add(np.where(finite[:, None], self._flat(self.simulated(x, rng).y), np.nan))
        return np.where(self.observed, normal_scores(counter.uniform(rng)), 0)

    def white_noise(self, rng: np.random.Generator, rows: np.ndarray | None = None) -> np.ndarray:
        """A draw of the noise, in its own units."""
        mask = self.observed if rows is None else self.observed[rows]
        return np.where(mask, rng.standard_normal(mask.shape), 0)

    @property
    def can_be_dense(self) -> bool:
        """Whether the matrices of all observations fit into memory."""
        unknowns = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return len(self) * self.observed.shape[1] * unknowns <= memory.entries(_MATRICES)

    def matrices(self) -> Float[np.ndarray, "n m d"]:
        """The operators of every observation as matrices, sources side by side."""
        return self._map(white_matrices, np.arange(len(self)))

    def with_data(self, white: np.ndarray, noise: float = 1.0) -> View:
        """A view with the same operators and mask and other data.

        **Arguments:** `white`, the data in units of the present noise, shape `(n, m)`; `noise`, how many times larger
        the noise is said to be.
        """
        return self._with(self._map(_colour, np.arange(len(self)), np.asarray(white, np.float32)), noise)

    def _with(self, y: np.ndarray, noise: float = 1.0) -> View:
        if np.iscomplexobj(self.view.y):
            half = y.shape[1] // 2
            y = y[:, :half] + 1j * y[:, half:]
        y = y.reshape(self.view.y.shape).astype(self.view.y.dtype)
        v = self.view
        return View(y, v.mixing, _scaled(v.noise, noise), v.observed, {}, v.common_mask)

    @staticmethod
    def _flat(y: np.ndarray) -> np.ndarray:
        y = y.reshape(len(y), -1)
        return np.concatenate([np.real(y), np.imag(y)], 1) if np.iscomplexobj(y) else y

    def _map(self, function: Any, rows: np.ndarray, *inputs: Any) -> np.ndarray:
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        chunk = max(1, memory.entries(_ENTRIES) // max(*sizes, int(np.prod(self.view.event_shape)), 1))
        if len(rows) <= chunk:
            return np.asarray(function(self._observations, rows, self._static, *inputs), float)
        parts = []
        for begin in range(0, len(rows), chunk):
            # padded: one program serves all chunks
            some = np.minimum(np.arange(begin, begin + chunk), len(rows) - 1)
            given = jax.tree.map(lambda v, some=some: v[some], inputs)
            out = function(self._observations, rows[some], self._static, *given)
            parts.append(np.asarray(out, float)[: len(rows) - begin])
        return np.concatenate(parts)


@eqx.filter_jit
def _mix(observations, rows, shapes, x):
    def one(i, x):
        return WhitenedObservation.unscaled(take(observations, i), dict(shapes)).forward(x)

    return jax.vmap(one)(rows, x)


@eqx.filter_jit
def _pull(observations, rows, shapes, x):
    def one(i, x):
        observation = WhitenedObservation.unscaled(take(observations, i), dict(shapes))
        found = jax.grad(lambda x: -jnp.sum(jnp.square(observation.y - observation.forward(x))) / 2)(x)
        return jnp.concatenate([found[s].reshape(-1) for s, _ in shapes])

    return jax.vmap(one)(rows, x)


@eqx.filter_jit
def _colour(observations, rows, shapes, white):
    def one(i, white):
        observation = take(observations, i)
        y = jnp.asarray(observation.y)
        if jnp.iscomplexobj(y):
            white = white[: y.size] + 1j * white[y.size :]
        return _parts(observation.noise.unwhiten(white.reshape(y.shape)))

    return jax.vmap(one)(rows, white)


@eqx.filter_jit
def _sample(observations, rows, shapes, x, keys):
    def one(i, x, key):
        observation = take(observations, i)
        m = observation.mixture({s: x[s] for s, _ in shapes})
        return _parts(jnp.where(observation.observed, observation.likelihood.sample(key, m), 0))

    return jax.vmap(one)(rows, x, keys)


def _parts(y: Any) -> Any:
    y = y.reshape(-1)
    return jnp.concatenate([y.real, y.imag]) if jnp.iscomplexobj(y) else y


def _scaled(noise: Any, factor: float) -> Any:
    if factor == 1:
        return noise
    return PerSample(noise.value.scaled(factor)) if isinstance(noise, PerSample) else noise.scaled(factor)
