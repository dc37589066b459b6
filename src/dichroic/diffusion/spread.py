r"""How far a denoiser is from the truth, at every noise level.

The mean over :math:`x_t` of the covariance of :math:`p(x_0 \mid x_t)` is, for an ideal denoiser, the covariance of its
error,

.. math:: \bar V(\sigma) = \mathrm E\big[(x_0 - D(x_0 + \sigma z, \sigma))(x_0 - D(x_0 + \sigma z, \sigma))^\top\big] ,

which can be measured on samples. Unlike the Jacobian of a network it is positive semidefinite by construction, it
includes the network's own errors, and it needs no derivative. It is kept along the principal directions of the source.
"""

from math import isqrt
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dichroic import memory
from dichroic.diffusion.schedule import Schedule

if TYPE_CHECKING:
    from dichroic.diffusion.denoiser import Denoiser

__all__ = ["Spread", "at_level", "measure_spread", "principal_directions"]

_LEVELS, _CHUNK = 24, 64


class Spread(eqx.Module):
    """Error variances along a fixed orthonormal basis, at a ladder of noise levels.

    **Arguments:** `basis`, shape `(d, r)`; `log_sigma`, rising, shape `(L,)`; `values`, shape `(L, r)`; `rest`, the
    variance along everything else, shape `(L,)`.
    """

    basis: ArrayLike
    log_sigma: ArrayLike
    values: ArrayLike
    rest: ArrayLike

    def moments_given(self, sigma: Float[Array, ""]) -> tuple[Array, Array, Array]:
        """`basis`, `values` and `rest` of the covariance at a level, interpolated in the logarithms of both."""
        basis, ladder, values, rest = (
            jnp.asarray(a, sigma.dtype) for a in (self.basis, self.log_sigma, self.values, self.rest)
        )
        # below the ladder the noise is all there is to know about the error
        shrink = jnp.minimum(1, jnp.exp(2 * (jnp.log(sigma) - ladder[0])))
        return basis, shrink * at_level(ladder, values, sigma), shrink * at_level(ladder, rest, sigma)


def at_level(log_sigma: Float[Array, " L"], table: Float[Array, "L ..."], sigma: Float[Array, ""]) -> Array:
    """A positive table over rising levels, interpolated in the logarithms of both; constant beyond its ends."""
    position = jnp.interp(jnp.log(sigma), log_sigma, jnp.arange(len(log_sigma), dtype=sigma.dtype))
    below = jnp.clip(position.astype(jnp.int32), 0, len(log_sigma) - 2)
    share = position - below
    return jnp.exp((1 - share) * jnp.log(table[below]) + share * jnp.log(table[below + 1]))


def principal_directions(samples: Shaped[np.ndarray, "n ..."], most: int) -> Float[np.ndarray, "d r"]:
    r"""The directions along which samples vary most, fewer than there are samples or numbers: leading eigenvectors of
    :math:`X^\top X`, or by those of :math:`X X^\top` where that is smaller, of the centred samples `X`; of as many of
    them as a budget of memory has room for such a matrix of.
    """
    x = samples.reshape(len(samples), -1)
    side = isqrt(memory.entries(min(x.shape) ** 2))
    x = x if min(x.shape) <= side else x[:side]
    (n, d), mean = x.shape, x.mean(0, dtype=float)
    k, tall = min(n, d), d <= n
    r, G = min(most, k - 1), np.zeros((k, k))
    if not r:
        return np.zeros((d, 0))
    parts = list(memory.blocks(max(n, d), 8 * k))
    for part in parts:
        C = x[part] - mean if tall else (x[:, part] - mean[part]).T
        G += C.T @ C
    _, vectors = scipy.linalg.eigh(G.T, subset_by_index=(k - r, k - 1), overwrite_a=True, check_finite=False)
    if not tall:
        vectors = np.linalg.qr(np.concatenate([(x[:, part] - mean[part]).T @ vectors for part in parts]))[0]
    return vectors[:, ::-1]


@eqx.filter_jit
def measure_spread(
    denoiser: "Denoiser",
    schedule: Schedule,
    samples: Float[Array, "n ..."],
    basis: Float[Array, "d r"],
    *,
    key: PRNGKeyArray,
) -> Spread:
    """Measures the spread of a denoiser on samples of its source, in its own units; `n` at least some hundreds.

    A number of samples that does not divide into chunks is made up from the first ones.
    """
    n = -(-len(samples) // _CHUNK) * _CHUNK
    samples = jnp.resize(samples, (n, *samples.shape[1:])).reshape(-1, _CHUNK, *samples.shape[1:])
    levels = schedule.sigma(jnp.linspace(0, 1, _LEVELS))
    d, r = basis.shape

    def chunk(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, sigma, key = inputs
        x_t = x + sigma * jax.random.normal(key, x.shape, x.dtype)
        error = (x - jax.vmap(lambda a: denoiser(a, sigma))(x_t)).reshape(_CHUNK, d)
        inside = error @ basis
        return (inside**2).mean(0), (error**2).sum(1).mean() - (inside**2).sum(1).mean()

    def level(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        sigma, key = inputs
        keys = jax.random.split(key, len(samples))
        values, outside = jax.lax.map(chunk, (samples, jnp.full(len(samples), sigma), keys))
        return values.mean(0), outside.mean(0) / max(d - r, 1)

    values, rest = jax.lax.map(level, (levels, jax.random.split(key, _LEVELS)))
    tiny = 1e-6 * levels[:, None] ** 2 / (1 + levels[:, None] ** 2)
    return Spread(basis, jnp.log(levels), jnp.maximum(values, tiny), jnp.maximum(rest, tiny[:, 0]))
