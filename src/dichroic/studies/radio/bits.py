"""Bits of signals that are made of symbols: what a receiver decides, and how often it is wrong."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from dichroic.diffusion import Symbols

__all__ = ["bits_of", "symbols_of"]


def symbols_of(prior: Symbols, x: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n p parts"]:
    """The symbols that a matched filter finds in samples, complex ones as pairs.

    **Raises:** `ValueError` where the prior has none (see `OFDM`).
    """
    modulator = prior.modulator()
    if modulator is None:
        raise ValueError("symbols are found by a matched filter, and columns of this signal are not orthogonal")
    z = np.asarray(_matched(modulator, np.asarray(prior.scaling.to_scaled(x), np.float32)))
    parts = prior.letters.shape[1]
    return np.asarray(prior.scaling.to_user(z.reshape(len(x), -1, parts)))


def bits_of(prior: Symbols, x: Float[np.ndarray, "n ..."]) -> Bool[np.ndarray, "n b"]:
    """The bits that a receiver reads from samples: the signs of their symbols, which is the Gray code of QPSK.

    **Raises:** `ValueError` for letters that signs do not tell apart.
    """
    signs = np.unique(np.sign(np.round(prior.letters, 6)), axis=0)
    told = [axis for axis in range(signs.shape[1]) if set(signs[:, axis]) == {-1.0, 1.0}]
    if len(signs) != len(prior.letters) or len(signs) != 2 ** len(told):
        raise ValueError("bits are read from signs, and these letters are not told apart by theirs")
    return (symbols_of(prior, x)[..., told] > 0).reshape(len(x), -1)


@eqx.filter_jit
def _matched(modulator, x) -> Array:
    return jax.vmap(modulator.matched)(x)
