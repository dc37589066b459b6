r"""Layers shared by the networks. All act on one sample; images are `(H, W, C)`."""

from math import prod, sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["dropout", "layer_norm", "linear", "noise_embedding", "resize", "stored", "truncated_normal"]


def noise_embedding(sigma: Float[Array, ""], features: int) -> Float[Array, " features"]:
    r"""Sines and cosines of :math:`\log\sigma` at frequencies from 1 down to 1e-4 (DDPRISM, appendix; DiEM)."""
    frequencies = np.geomspace(1, 1e-4, features // 2)
    phase = jnp.log(sigma) * jnp.asarray(frequencies, dtype=sigma.dtype)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Normal numbers between -2 and 2.

    A number depends on the key and on its place: by rounding sizes up, a few programs serve all shapes of a network,
    which would take seconds to compile one by one.
    """
    size = prod(shape)
    rounded = 8 ** -(-(size - 1).bit_length() // 3)
    return jax.random.truncated_normal(key, -2, 2, (rounded,))[:size].reshape(shape)


def linear(inputs: int, outputs: int, *, key: PRNGKeyArray, scale: float = 1.0) -> eqx.nn.Linear:
    """A dense layer with LeCun normal weights times `scale` and zero bias."""
    layer = eqx.filter_eval_shape(eqx.nn.Linear, inputs, outputs, key=key)  # without weights that nobody needs
    weight = scale / sqrt(inputs) * truncated_normal(key, (outputs, inputs)) / 0.8796
    return eqx.tree_at(lambda it: (it.weight, it.bias), layer, (weight, jnp.zeros(outputs)))


def layer_norm(x: Float[Array, "... c"]) -> Float[Array, "... c"]:
    """Normalises the last axis to mean 0 and variance 1, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    out = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return out.astype(x.dtype)


def dropout(x: Float[Array, "..."], rate: float, key: PRNGKeyArray | None) -> Float[Array, "..."]:
    """Zeroes a share `rate` of the entries and rescales the rest; does nothing without a key."""
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


def resize(x: Float[Array, "h w c"], height: int, width: int) -> Float[Array, "h2 w2 c"]:
    """Lanczos-3 interpolation, anti-aliased when shrinking."""
    return jax.image.resize(x, (height, width, x.shape[-1]), "lanczos3").astype(x.dtype)


def stored(x: Float[Array, "*shape"], by: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """Does nothing, but on a CPU XLA computes `x` once there, instead of once more in each fusion that needs it.

    A conditional is the one boundary that its fusions do not cross. It asks whether the first of `by`, of which XLA
    knows nothing, is a number, and where it is not, neither is the result.
    """

    def crossed(x, by):
        return jax.lax.cond(jnp.isnan(by.ravel()[0]), lambda x: jnp.full_like(x, jnp.nan), lambda x: x, x)

    return jax.lax.platform_dependent(x, by, cpu=crossed, default=lambda x, by: x)
