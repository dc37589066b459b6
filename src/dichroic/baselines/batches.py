"""A function of one observation, mapped over all observations of a view in batches of one size."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.operators import take
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import widen

__all__ = ["chi_square", "over_observations"]

_ENTRIES = 2**20  # of one array of a batch


def over_observations(
    function: Callable[..., Any],
    view: View,
    *per_sample: np.ndarray,
    key: PRNGKeyArray | None = None,
    indices: np.ndarray | None = None,
    batch: int | None = None,
    wide: bool = False,
) -> Any:
    """`function(observation, *rows, key)` of every observation, stacked.

    The key of an observation is folded from `key` and its index: results depend on neither the batch size nor what
    other observations there are.

    **Arguments:** `function`, an `equinox` module or a function defined once, so that its program is compiled once;
    `per_sample`, arrays whose first axis runs over the observations; `key`, None for functions that draw nothing;
    `indices`, the names of the observations for their keys (default: their positions); `batch`, observations side by
    side (None: chosen by size).

    **Returns:** what `function` returns, as numpy arrays with a first axis over the observations.
    """
    n = len(view)
    batch = batch or min(4096, max(8, _ENTRIES // max(1, int(np.prod(view.event_shape)))))
    # rounded up to a power of two: problems of about the same size share a compiled program
    batch = min(batch, 1 << (n - 1).bit_length())
    indices = np.arange(n) if indices is None else indices
    parts = []
    for begin in range(0, n, batch):
        rows = np.arange(begin, min(begin + batch, n))
        padded = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows))])
        rest = [np.asarray(a)[padded] for a in per_sample]
        observations = view.select(padded).observations
        observations = widen(observations) if wide else observations
        out = _map(function, observations, rest, indices[padded], key)
        count = len(rows)
        parts.append(jax.tree.map(lambda a, count=count: np.asarray(a)[:count], out))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


@eqx.filter_jit
def _map(function, observations, rest, indices, key):
    def one(i, index):
        own = None if key is None else jax.random.fold_in(key, index)
        return function(take(observations, i), *(jnp.asarray(a)[i] for a in rest), own)

    return jax.vmap(one)(jnp.arange(len(indices)), jnp.asarray(indices))


def chi_square(view: View, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    """Residual per observed value of one estimate of every source of a view."""
    return over_observations(_ChiSquare(tuple(samples)), view, *samples.values())


class _ChiSquare(eqx.Module):
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, observation, *sources_and_key):
        x = dict(zip(self.names, sources_and_key, strict=False))
        return WhitenedObservation.unscaled(observation, {s: a.shape for s, a in x.items()}).chi_square(x)
