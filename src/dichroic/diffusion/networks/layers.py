r"""Layers shared by the networks. All act on one sample; images are `(H, W, C)`."""

from math import sqrt
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["AUTOMATIC", "Convolution", "Route", "dropout", "layer_norm", "linear", "noise_embedding", "resize"]

Route = Literal["auto", "explicit", "library"]
AUTOMATIC: dict[str, Route] = {"cpu": "explicit"}  # what "auto" is, by platform; "library" elsewhere


def noise_embedding(sigma: Float[Array, ""], features: int) -> Float[Array, " features"]:
    r"""Sines and cosines of :math:`\log\sigma` at frequencies from 1 down to 1e-4 (DDPRISM, appendix; DiEM)."""
    frequencies = np.geomspace(1, 1e-4, features // 2)
    phase = jnp.log(sigma) * jnp.asarray(frequencies, dtype=sigma.dtype)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])


def linear(inputs: int, outputs: int, *, key: PRNGKeyArray, scale: float = 1.0) -> eqx.nn.Linear:
    """A dense layer with LeCun normal weights times `scale` and zero bias."""
    layer = eqx.nn.Linear(inputs, outputs, key=key)
    weight = scale / sqrt(inputs) * jax.random.truncated_normal(key, -2, 2, (outputs, inputs)) / 0.8796
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


class Convolution(eqx.Module):
    """A 3 x 3 convolution with reflected edges, `(H, W, C) -> (H, W, outputs)`.

    By the `route` "library" its gradients are JAX's. By "explicit" they are written out as convolutions of the form
    that XLA computes by matrix products on a CPU; JAX's are turned into that form outside of loops only, and are more
    than ten times slower inside. "auto" is what `AUTOMATIC` says. Only "library" can be differentiated in forward mode.
    """

    weight: Float[Array, "3 3 inputs outputs"]
    bias: Float[Array, " outputs"]
    route: Route = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray, route: Route = "auto"):
        self.weight = jax.random.truncated_normal(key, -2, 2, (3, 3, inputs, outputs)) / (0.8796 * sqrt(9 * inputs))
        self.bias, self.route = jnp.zeros(outputs), route

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w outputs"]:
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")  # a single pixel is repeated
        routes = {"explicit": _explicit, "library": _library}
        if self.route != "auto":
            return routes[self.route](padded, self.weight) + self.bias
        special = {platform: routes[route] for platform, route in AUTOMATIC.items()}
        return jax.lax.platform_dependent(padded, self.weight, default=_library, **special) + self.bias


def _library(padded: Array, weight: Array) -> Array:
    return jax.lax.conv_general_dilated(
        padded[None], weight, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


@jax.custom_vjp
def _explicit(padded: Array, weight: Array) -> Array:
    return _library(padded, weight)


def _explicit_forward(padded: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _explicit(padded, weight), (padded, weight)


def _explicit_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    padded, weight = saved
    turned = weight[::-1, ::-1].swapaxes(2, 3)
    h, w, _ = g.shape
    copies = jnp.concatenate([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], -1)
    # in this order of indices the sum over a batch runs through memory in its order
    product = jnp.einsum("hwo,hwk->ok", g, copies)
    return _library(jnp.pad(g, ((2, 2), (2, 2), (0, 0))), turned), product.T.reshape(weight.shape)


_explicit.defvjp(_explicit_forward, _explicit_backward)
