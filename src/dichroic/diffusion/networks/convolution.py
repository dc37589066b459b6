r"""Convolutions of images with kernels of 3 x 3, and their derivatives in forms that are fast on a CPU.

All of it is one trilinear form of images :math:`x`, a kernel :math:`k` and cotangents :math:`g`,

.. math:: \sum_{nabpqio} x_{n,a+p,b+q,i} \, k_{pqio} \, g_{nabo}.

Its derivatives by :math:`g`, :math:`x` and :math:`k` are three bilinear operations, `convolve`, `spread` and
`correlate`, and the derivatives of each of them are the other two. JAX is told so, thus all of its transformations are
at hand.
"""

from collections.abc import Callable
from math import sqrt
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.networks import winograd
from dichroic.diffusion.networks.layers import truncated_normal

__all__ = ["AUTOMATIC", "Convolution", "Route", "convolution"]

Route = Literal["auto", "explicit", "library"]
AUTOMATIC: dict[str, Route] = {"cpu": "explicit"}  # what "auto" is, by platform; "library" elsewhere
_FEWEST = 32  # channels from which on minimal filtering was faster
_SAMPLES, _ROWS = 16, 7  # of a block of `correlate`
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Convolution(eqx.Module):
    """A 3 x 3 convolution with reflected edges, `(H, W, C) -> (H, W, outputs)`.

    By the `route` "library" it is XLA's, with the gradients of JAX, which XLA turns into matrix products on a CPU
    outside of loops only: inside they are more than ten times slower. By "explicit" it is computed as this module says,
    to the same values up to rounding. "auto" is what `AUTOMATIC` says.
    """

    weight: Float[Array, "3 3 inputs outputs"]
    bias: Float[Array, " outputs"]
    route: Route = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray, route: Route = "auto"):
        self.weight = truncated_normal(key, (3, 3, inputs, outputs)) / (0.8796 * sqrt(9 * inputs))
        self.bias, self.route = jnp.zeros(outputs), route

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w outputs"]:
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")  # a single pixel is repeated
        return convolution(padded, self.weight, self.route) + self.bias


def convolution(
    padded: Float[Array, "h w i"], weight: Float[Array, "3 3 i o"], route: Route
) -> Float[Array, "h-2 w-2 o"]:
    """A convolution of one image that has its margin, by any of the routes."""
    routes = {"explicit": _convolve_p.bind, "library": _library}
    if route != "auto":
        return routes[route](padded[None], weight)[0]
    special = {platform: routes[route] for platform, route in AUTOMATIC.items()}
    return jax.lax.platform_dependent(padded[None], weight, default=_library, **special)[0]


def _library(x: Float[Array, "n h w i"], k: Float[Array, "p q i o"]) -> Float[Array, "n h-p+1 w-q+1 o"]:
    return jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=_LAYOUT)


def _library_spread(g: Float[Array, "n h w o"], k: Float[Array, "3 3 i o"]) -> Float[Array, "n h+2 w+2 i"]:
    return _library(jnp.pad(g, ((0, 0), (2, 2), (2, 2), (0, 0))), k[::-1, ::-1].swapaxes(2, 3))


def _minimal(k: Array) -> bool:
    """Whether minimal filtering pays: not for few channels, and not in half precision, where its sums lose digits."""
    return min(k.shape[2:]) >= _FEWEST and k.dtype.itemsize >= 4


def _convolve(x: Array, k: Array) -> Array:
    return winograd.convolve(x, k) if _minimal(k) else _library(x, k)


def _spread(g: Array, k: Array) -> Array:
    return winograd.spread(g, k) if _minimal(k) else _library_spread(g, k)


def _correlate(x: Float[Array, "n h w i"], g: Float[Array, "n h-2 w-2 o"]) -> Float[Array, "3 3 i o"]:
    """A sum over samples and pixels, by blocks that stay in the cache."""
    h, rows = g.shape[1], max(_ROWS, -(-g.shape[1] // 8))

    def block(x: Array, g: Array) -> Array:
        # a convolution whose kernel is g: channels of x take the place of samples, samples that of channels
        x, g = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
        parts = [_library(x[:, a : a + rows + 2], g[a : a + rows]) for a in range(0, h, rows)]
        return sum(parts[1:], parts[0]).transpose(1, 2, 0, 3)

    def add(total, images):
        return total + block(*images), None

    blocks, rest = divmod(len(x), _SAMPLES)
    total = block(x[-rest:], g[-rest:]) if rest else jnp.zeros((3, 3, x.shape[3], g.shape[3]), x.dtype)
    if blocks:
        whole = (a[: blocks * _SAMPLES].reshape(blocks, _SAMPLES, *a.shape[1:]) for a in (x, g))
        total, _ = jax.lax.scan(add, total, tuple(whole))
    return total


def _bilinear(name: str, compute: Callable, shape: Callable, *, samples: bool) -> Primitive:
    """An operation of JAX on two arrays. With `samples`, a batch of the first alone becomes more samples."""
    it = Primitive(name)

    def batch(arguments, axes):
        if not samples or axes[1] is not None:
            return jax.vmap(compute, axes)(*arguments), 0
        first = jnp.moveaxis(arguments[0], axes[0], 0)
        found = it.bind(first.reshape(-1, *first.shape[2:]), arguments[1])
        return found.reshape(*first.shape[:2], *found.shape[1:]), 0

    it.def_impl(jax.jit(compute))
    it.def_abstract_eval(lambda a, b: a.update(shape=shape(a.shape, b.shape), weak_type=False))
    mlir.register_lowering(it, mlir.lower_fun(compute, multiple_results=False))
    batching.primitive_batchers[it] = batch
    return it


_convolve_p = _bilinear("convolve", _convolve, lambda x, k: (x[0], x[1] - 2, x[2] - 2, k[3]), samples=True)
_spread_p = _bilinear("spread", _spread, lambda g, k: (g[0], g[1] + 2, g[2] + 2, k[2]), samples=True)
_correlate_p = _bilinear("correlate", _correlate, lambda x, g: (3, 3, x[3], g[3]), samples=False)

ad.defbilinear(_convolve_p, lambda g, x, k: _spread_p.bind(g, k), lambda g, x, k: _correlate_p.bind(x, g))
ad.defbilinear(_spread_p, lambda x, g, k: _convolve_p.bind(x, k), lambda x, g, k: _correlate_p.bind(x, g))
ad.defbilinear(_correlate_p, lambda k, x, g: _spread_p.bind(g, k), lambda k, x, g: _convolve_p.bind(x, k))
