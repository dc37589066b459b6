"""Keys of windows on records: random numbers belong to places of a record, and windows that overlap share them there.

A key of a window holds a key of its record and the place where the window begins. What is drawn with as many rows as a
window has entries gets the numbers of these places, whatever window asks; anything else, numbers of the window's own.
"""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import PRNGKeyArray

from dichroic.formats import Windows

__all__ = ["window_keys"]

_TYPES = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}


def window_keys(key: PRNGKeyArray, windows: Windows) -> Any:
    """A key for every window on series, shape `(n,)`, by its record and place alone.

    >>> windows = Windows.over([(6,)], (4,), (2,))
    >>> first, second = window_keys(jax.random.key(0), windows)
    >>> a, b = (np.asarray(jax.random.normal(k, (4,))) for k in (first, second))
    >>> bool((a[2:] == b[:2]).all()), bool((a[:2] == b[:2]).any())
    (True, False)
    """
    records = jax.vmap(lambda r: jax.random.key_data(jax.random.fold_in(key, r)))(windows.record)
    data = np.concatenate([np.asarray(records), windows.start.astype(np.uint32)], 1)
    return jax.random.wrap_key_data(jnp.asarray(data), impl=_places(windows.size[0]))


@lru_cache
def _places(rows: int) -> Hashable:
    """The generator, for windows of so many entries; its keys are those of a record and a place."""

    def record(data: Any) -> Any:
        return jax.random.wrap_key_data(data[:2], impl="threefry2x32")

    def with_place(keys: Any, data: Any) -> Any:
        found = jax.random.key_data(keys)
        place = jnp.broadcast_to(data[2:], (*found.shape[:-1], 1)).astype(found.dtype)
        return jnp.concatenate([found, place], -1)

    def bits(data: Any, width: int, shape: tuple[int, ...]) -> Any:
        key, kind = record(data), _TYPES[width]
        if shape[:1] != (rows,):
            return jax.random.bits(jax.random.fold_in(key, data[2]), shape, kind)
        places = data[2] + jnp.arange(rows, dtype=jnp.uint32)
        return jax.vmap(lambda p: jax.random.bits(jax.random.fold_in(key, p), shape[1:], kind))(places)

    return define_prng_impl(
        key_shape=(3,),
        seed=lambda seed: jnp.concatenate([jax.random.key_data(jax.random.key(seed)), jnp.zeros(1, jnp.uint32)]),
        split=lambda data, shape: with_place(jax.random.split(record(data), shape), data),
        random_bits=bits,
        fold_in=lambda data, number: with_place(jax.random.fold_in(record(data), number), data),
        name=f"places_{rows}",
        tag="win",
    )
