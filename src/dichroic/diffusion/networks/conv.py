"""A small convolutional network for images and series, seen at half and at a quarter of their resolution."""

from math import prod, sqrt
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, PositiveInt, field_validator

from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.convolution import Route, convolution
from dichroic.diffusion.networks.layers import linear, noise_embedding, truncated_normal

__all__ = ["Conv", "ConvConfig", "fold", "unfold"]

_SIDES = {1: 9, 2: 3}  # of a kernel, by the number of axes
_GAIN = 0.1  # of the second convolution of a block: a fresh network is close to a linear one


class ConvConfig(NetworkConfig):
    """Settings of a `Conv`."""

    kind: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Channels at half and at a quarter of the resolution."""
    depth: Annotated[int, Field(gt=0, le=1024)] = 2
    """Residual blocks on the way down, at the bottom and on the way up, each."""
    embedding: PositiveInt = 64
    """Size of the embedding of the noise level."""
    convolution: Route = "auto"
    """How convolutions of images are computed; changes the time they take, not what they compute."""
    axes: Literal[1, 2] | None = None
    """Axes that are convolved, those behind being channels; by default one of series `(L,)`, two of anything else."""

    @field_validator("channels")
    @classmethod
    def _two(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if len(channels) != 2:
            raise ValueError(f"expected channels of two resolutions, got {len(channels)}")
        return channels

    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> "Conv":
        return Conv(shape, self, key=key, out_scale=out_scale)


class Conv(eqx.Module):
    r"""A U-Net of two levels behind a fold: every second entry along every axis becomes a channel, so nothing is lost
    and convolutions act on a quarter of the pixels (space-to-depth, `../docs/experiments.md`).

    A block is :math:`h + C_2\, \mathrm{SiLU}(C_1 (\mathrm{SiLU}((1 + g(e)) \bar h + b(e))))`, :math:`\bar h` having
    mean square 1 at every place, and `e` the embedding of the noise level. For images `(H, W, C)`, `(H, W)` and
    series `(L,)`, `(L, C)`.
    """

    enter: Array
    down: list["Block"]
    bottom: list["Block"]
    up: list["Block"]
    descend: eqx.nn.Linear
    ascend: eqx.nn.Linear
    last: eqx.nn.Linear
    embed: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: ConvConfig = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], config: ConvConfig, *, key: PRNGKeyArray, out_scale: float = 1.0):
        axes = config.axes or min(len(shape), 2)
        if not axes <= len(shape) <= axes + 1:
            raise ValueError(f"a convolutional network needs series or images (height, width, channels), got {shape}")
        cells, (fine, coarse) = 2**axes, config.channels
        values = cells * (shape[-1] if len(shape) > axes else 1)
        keys = iter(jax.random.split(key, 4 + 3 * config.depth + 4))

        def blocks(channels: int) -> list["Block"]:
            return [Block(channels, config.embedding, axes, key=next(keys)) for _ in range(config.depth)]

        self.enter = kernel(values, fine, axes, key=next(keys))
        self.down, self.bottom, self.up = blocks(fine), blocks(coarse), blocks(fine)
        self.descend = linear(cells * fine, coarse, key=next(keys))
        self.ascend = linear(coarse, cells * fine, key=next(keys))
        self.last = linear(fine, values, key=next(keys), scale=out_scale)
        self.embed = linear(config.embedding, config.embedding, key=next(keys))
        self.shape, self.config = shape, config

    def by(self, route: Route) -> "Conv":
        """The same network with its convolutions by another route."""
        config = self.config.model_copy(update={"convolution": route})
        empty = eqx.filter_eval_shape(Conv, self.shape, config, key=jax.random.key(0))
        return jax.tree.unflatten(jax.tree.structure(empty), jax.tree.leaves(self))

    def __call__(
        self, x: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        axes = self.enter.ndim - 2
        sides = self.shape[:axes]
        h = x if len(self.shape) > axes else x[..., None]
        h = jnp.pad(h, [(0, -side % 4) for side in sides] + [(0, 0)], mode="symmetric")
        e = noise_embedding(sigma, self.config.embedding).astype(x.dtype)
        e = jax.nn.silu(dense(self.embed, e))
        h = convolve(fold(h, axes), self.enter, route=self.config.convolution)
        for block in self.down:
            h = block(h, e, self.config.convolution)
        low = dense(self.descend, fold(h, axes))
        for block in self.bottom:
            low = block(low, e, self.config.convolution)
        h = h + unfold(dense(self.ascend, low), axes)
        for block in self.up:
            h = block(h, e, self.config.convolution)
        out = unfold(dense(self.last, h), axes)[tuple(slice(side) for side in sides)]
        return out.reshape(self.shape)


class Block(eqx.Module):
    """A residual block, told the noise level."""

    first: Array
    second: Array
    modulation: eqx.nn.Linear

    def __init__(self, channels: int, embedding: int, axes: int, *, key: PRNGKeyArray):
        a, b, c = jax.random.split(key, 3)
        self.first = kernel(channels, channels, axes, key=a)
        self.second = _GAIN * kernel(channels, channels, axes, key=b)
        self.modulation = linear(embedding, 2 * channels, key=c, scale=_GAIN)

    def __call__(self, h: Array, e: Array, route: Route) -> Array:
        gain, shift = jnp.split(dense(self.modulation, e), 2)
        power = jnp.mean(jnp.square(h.astype(jnp.float32)), -1, keepdims=True)
        y = jax.nn.silu((1 + gain) * h * jax.lax.rsqrt(power + 1e-6).astype(h.dtype) + shift)
        return h + convolve(jax.nn.silu(convolve(y, self.first, route=route)), self.second, route=route)


def dense(layer: eqx.nn.Linear, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
    """A dense layer on the last axis."""
    return x @ layer.weight.T + layer.bias  # pyright: ignore


def kernel(inputs: int, outputs: int, axes: int, *, key: PRNGKeyArray) -> Array:
    """Weights of a convolution that keeps the mean square."""
    sides = (_SIDES[axes],) * axes
    return truncated_normal(key, (*sides, inputs, outputs)) / (0.8796 * sqrt(prod(sides) * inputs))


def convolve(
    x: Float[Array, "... i"], k: Float[Array, "... i o"], stride: int = 1, route: Route = "library"
) -> Float[Array, "... o"]:
    """A convolution along all axes but the last, zero beyond the edges, at every `stride`-th place."""
    axes = x.ndim - 1
    if axes == 2 and stride == 1 and route != "library":
        return convolution(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), k, route)
    names = ("NWC", "WIO", "NWC") if axes == 1 else ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], k, (stride,) * axes, "SAME", dimension_numbers=names)[0]


def fold(x: Float[Array, "..."], axes: int) -> Float[Array, "..."]:
    """Every second entry along each of the first `axes` axes becomes a channel."""
    for axis in range(axes):
        x = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        x = jnp.moveaxis(x, axis + 1, -2).reshape(*x.shape[: axis + 1], *x.shape[axis + 2 : -1], -1)
    return x


def unfold(x: Float[Array, "..."], axes: int) -> Float[Array, "..."]:
    """What `fold` made of, again."""
    for axis in reversed(range(axes)):
        x = jnp.moveaxis(x.reshape(*x.shape[:-1], 2, -1), -2, axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x
