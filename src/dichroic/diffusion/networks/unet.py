"""The U-Net of DDPRISM (arXiv 2510.05205, appendix), for images `(H, W, C)` of any size."""

from math import prod
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, PositiveInt, model_validator

from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.convolution import Convolution, Route
from dichroic.diffusion.networks.layers import dropout, layer_norm, linear, noise_embedding, resize, stored
from dichroic.kinds import Share

__all__ = ["UNet", "UNetConfig"]

_PIXELS = 2**14  # of the images of a block


class UNetConfig(NetworkConfig):
    """Settings of a `UNet`: channels, residual blocks and attention heads (0: none) of every level.

    `convolution` is the route that convolutions take: it changes the time that they take, not what they compute.
    """

    kind: Literal["unet"] = "unet"
    channels: tuple[PositiveInt, ...] = (32, 64, 128)
    """Channels of every level."""
    blocks: tuple[Annotated[int, Field(gt=0, le=1024)], ...] = (2, 2, 2)
    """Residual blocks of every level."""
    heads: tuple[int, ...] = (0, 0, 4)
    """Attention heads of every level, 0 for none."""
    embedding: PositiveInt = 64
    """Size of the embedding of the noise level."""
    dropout: Share = 0.1
    """Share of units dropped in training."""
    convolution: Route = "auto"
    """How convolutions are computed; changes the time they take, not what they compute."""

    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> "UNet":
        return UNet(shape, self, key=key, out_scale=out_scale)

    @model_validator(mode="after")
    def _check(self) -> "UNetConfig":
        if not len(self.channels) == len(self.blocks) == len(self.heads):
            raise ValueError("channels, blocks and heads must have one entry per level each")
        if any(h and c % h for c, h in zip(self.channels, self.heads, strict=True)):
            raise ValueError("the heads of a level must divide its channels")
        return self


class Modulation(eqx.Module):
    """adaLN-Zero: gain, shift and gate of a block from the noise embedding; starts close to zero."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear

    def __init__(self, embedding: int, channels: int, *, key: PRNGKeyArray):
        a, b = jax.random.split(key)
        self.first = linear(embedding, embedding, key=a)
        self.second = linear(embedding, 3 * channels, key=b, scale=0.1**0.5)

    def __call__(self, e: Float[Array, " e"]) -> tuple[Array, Array, Array]:
        gain, shift, gate = jnp.split(self.second(jax.nn.silu(self.first(e))), 3)
        return gain, shift, gate * jax.lax.rsqrt(1 + gate**2)


class ResidualBlock(eqx.Module):
    """Two convolutions around a modulation."""

    modulation: Modulation
    first: Convolution
    second: Convolution
    gains: Float[Array, " c"]
    biases: Float[Array, " c"]

    def __init__(self, channels: int, embedding: int, *, key: PRNGKeyArray, route: Route = "auto"):
        a, b, c = jax.random.split(key, 3)
        self.modulation = Modulation(embedding, channels, key=a)
        self.first, self.second = (Convolution(channels, channels, key=k, route=route) for k in (b, c))
        self.gains, self.biases = jnp.ones(channels), jnp.zeros(channels)

    def __call__(self, x: Array, e: Array, rate: float, key: PRNGKeyArray | None) -> Array:
        gain, shift, gate = self.modulation(e)
        y = self.first(jax.nn.silu((1 + gain) * layer_norm(x) + shift))
        y = self.gains * layer_norm(dropout(y, rate, key)) + self.biases
        return x + gate * self.second(jax.nn.silu(y))


class AttentionBlock(eqx.Module):
    """Self-attention over the pixels."""

    modulation: Modulation
    projections: list[eqx.nn.Linear]
    heads: int = eqx.field(static=True)

    def __init__(self, channels: int, heads: int, embedding: int, *, key: PRNGKeyArray):
        first, *rest = jax.random.split(key, 5)
        self.modulation = Modulation(embedding, channels, key=first)
        self.projections = [linear(channels, channels, key=k) for k in rest]
        self.heads = heads

    def __call__(self, x: Array, e: Array, rate: float, key: PRNGKeyArray | None) -> Array:
        gain, shift, gate = self.modulation(e)
        h, w, c = x.shape
        y = ((1 + gain) * layer_norm(x) + shift).reshape(h * w, c)
        q, k, v, out = (lambda z, p=p: z @ p.weight.T + p.bias for p in self.projections)
        split = (h * w, self.heads, c // self.heads)
        scores = jnp.einsum("qhc,khc->hqk", q(y).reshape(split), k(y).reshape(split)) * (c // self.heads) ** -0.5
        weights = dropout(jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype), rate, key)
        y = jnp.einsum("hqk,khc->qhc", weights, v(y).reshape(split)).reshape(h * w, c)
        return x + gate * out(y).reshape(h, w, c)


class Level(eqx.Module):
    """The blocks of one resolution, in one direction."""

    enter: Convolution | None
    merge: Convolution | None
    blocks: list[ResidualBlock | AttentionBlock]

    def __call__(self, x: Array, e: Array, rate: float, keys) -> Array:
        for block in self.blocks:
            x = stored(block(x, e, rate, next(keys)), block.modulation.first.weight)
        return x


class UNet(eqx.Module):
    """Down to the coarsest level, through the middle, and up again with skip connections.

    Resampling is by Lanczos interpolation to the rounded-up half size, so any image side works.
    """

    down: list[Level]
    middle: Level
    up: list[Level]
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: UNetConfig = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], config: UNetConfig, *, key: PRNGKeyArray, out_scale: float = 1.0):
        if len(shape) != 3:
            raise ValueError(f"a U-Net needs images of shape (height, width, channels), got {shape}")
        keys = iter(jax.random.split(key, 1000))

        def blocks(level: int, n: int, attention: bool = True) -> list[ResidualBlock | AttentionBlock]:
            channels, heads, found = config.channels[level], config.heads[level], []
            for _ in range(n):
                found.append(ResidualBlock(channels, config.embedding, key=next(keys), route=config.convolution))
                if heads and attention:
                    found.append(AttentionBlock(channels, heads, config.embedding, key=next(keys)))
            return found

        def convolution(inputs: int, outputs: int) -> Convolution:
            return Convolution(inputs, outputs, key=next(keys), route=config.convolution)

        channels, deepest = config.channels, len(config.channels) - 1
        self.down = [
            Level(
                convolution(shape[2] if i == 0 else channels[i - 1], channels[i]),
                None,
                blocks(i, config.blocks[i]),
            )
            for i in range(deepest + 1)
        ]
        self.middle = Level(None, None, [*blocks(deepest, 1), *blocks(deepest, 1, attention=False)])
        self.up = [
            Level(
                None if i == deepest else convolution(channels[i], channels[i]),
                convolution(channels[i] + channels[min(i + 1, deepest)], channels[i]),
                blocks(i, config.blocks[i]),
            )
            for i in range(deepest + 1)
        ]
        self.last = linear(channels[0], shape[2], key=next(keys), scale=out_scale)
        self.shape, self.config = shape, config

    @property
    def fast_block(self) -> int | None:
        """Samples whose gradients are best taken together: on a CPU as many as stay in its cache; None: all."""
        return max(1, _PIXELS // prod(self.shape[:2])) if jax.default_backend() == "cpu" else None

    def __call__(
        self, x: Float[Array, "h w c"], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "h w c"]:
        e = noise_embedding(sigma, self.config.embedding).astype(x.dtype)
        rate = self.config.dropout
        keys = iter([None] * 1000 if key is None else jax.random.split(key, 1000))
        skips = []
        for i, level in enumerate(self.down):
            if i > 0:
                x = resize(x, -(-x.shape[0] // 2), -(-x.shape[1] // 2))
            assert level.enter is not None
            x = level(level.enter(x), e, rate, keys)
            skips.append(x)
        x = self.middle(x, e, rate, keys)
        for i, level in reversed(list(enumerate(self.up))):
            skip = skips[i]
            if x.shape[:2] != skip.shape[:2]:
                x = resize(x, *skip.shape[:2])
            assert level.merge is not None
            x = level.merge(jnp.concatenate([x, skip], -1)) + skip
            if level.enter is not None:
                x = level.enter(x)
            x = level(x, e, rate, keys)
        return x @ self.last.weight.T + self.last.bias  # pyright: ignore
