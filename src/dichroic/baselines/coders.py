"""Encoders and decoders of the variational autoencoder: networks without a noise level, for one sample."""

from math import prod
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, PositiveInt

from dichroic.diffusion.networks.convolution import Convolution
from dichroic.diffusion.networks.layers import dropout, layer_norm, linear, resize
from dichroic.kinds import Settings, Share

__all__ = ["CoderConfig", "ConvCoderConfig", "MLPCoderConfig", "make_decoder", "make_encoder"]


class MLPCoderConfig(Settings):
    """Hidden layers of `Dense -> SiLU -> LayerNorm -> Dropout`; `normalise` switches the LayerNorm.

    With a LayerNorm outputs are bounded, whatever the latents: a source that has no largest value comes out too small
    where it is large. DDPRISM has one for manifolds, and none for images.
    """

    kind: Literal["mlp"] = "mlp"
    width: PositiveInt = 256
    depth: PositiveInt = 3
    normalise: bool = True
    dropout: Share = 0.1


class ConvCoderConfig(Settings):
    """Two 3 x 3 convolutions per level with as many `channels`, the resolution halving from level to level."""

    kind: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, ...] = (32, 64)
    dropout: Share = 0.1


CoderConfig = Annotated[MLPCoderConfig | ConvCoderConfig, Field(discriminator="kind")]


class _MLP(eqx.Module):
    hidden: list[eqx.nn.Linear]
    gains: list[Float[Array, " width"]]
    biases: list[Float[Array, " width"]]
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: MLPCoderConfig = eqx.field(static=True)

    def __init__(self, inputs: int, shape: tuple[int, ...], config: MLPCoderConfig, key: PRNGKeyArray):
        *keys, last = jax.random.split(key, config.depth + 1)
        widths = [inputs, *[config.width] * config.depth]
        self.hidden = [linear(widths[i], config.width, key=k) for i, k in enumerate(keys)]
        affine = config.depth if config.normalise else 0
        self.gains = [jnp.ones(config.width) for _ in range(affine)]
        self.biases = [jnp.zeros(config.width) for _ in range(affine)]
        self.last = linear(config.width, prod(shape), key=last)
        self.shape, self.config = shape, config

    def __call__(self, x: Float[Array, "..."], key: PRNGKeyArray | None = None) -> Float[Array, "..."]:
        keys = [None] * len(self.hidden) if key is None else jax.random.split(key, len(self.hidden))
        h = x.reshape(-1)
        for i, layer in enumerate(self.hidden):
            h = jax.nn.silu(layer(h))
            if self.gains:
                h = self.gains[i] * layer_norm(h) + self.biases[i]
            h = dropout(h, self.config.dropout, keys[i])
        return self.last(h).reshape(self.shape)


class _Block(eqx.Module):
    first: Convolution
    second: Convolution

    def __init__(self, inputs: int, outputs: int, key: PRNGKeyArray):
        a, b = jax.random.split(key)
        self.first, self.second = Convolution(inputs, outputs, key=a), Convolution(outputs, outputs, key=b)

    def __call__(self, x: Array, rate: float, key: PRNGKeyArray | None) -> Array:
        x = jax.nn.silu(layer_norm(self.first(x)))
        return jax.nn.silu(layer_norm(self.second(dropout(x, rate, key))))


class _ConvEncoder(eqx.Module):
    blocks: list[_Block]
    last: eqx.nn.Linear
    config: ConvCoderConfig = eqx.field(static=True)

    def __init__(self, inputs: tuple[int, int, int], outputs: int, config: ConvCoderConfig, key: PRNGKeyArray):
        *keys, last = jax.random.split(key, len(config.channels) + 1)
        channels = [inputs[2], *config.channels]
        self.blocks = [_Block(channels[i], channels[i + 1], k) for i, k in enumerate(keys)]
        height, width = _sides(inputs[:2], len(config.channels))[-1]
        self.last, self.config = linear(height * width * channels[-1], outputs, key=last), config

    def __call__(self, x: Float[Array, "h w c"], key: PRNGKeyArray | None = None) -> Float[Array, " q"]:
        sides = _sides(x.shape[:2], len(self.blocks))
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        for i, block in enumerate(self.blocks):
            x = block(x if i == 0 else resize(x, *sides[i]), self.config.dropout, keys[i])
        return self.last(x.reshape(-1))


class _ConvDecoder(eqx.Module):
    first: eqx.nn.Linear
    blocks: list[_Block]
    last: eqx.nn.Linear
    shape: tuple[int, int, int] = eqx.field(static=True)
    config: ConvCoderConfig = eqx.field(static=True)

    def __init__(self, latents: int, shape: tuple[int, int, int], config: ConvCoderConfig, key: PRNGKeyArray):
        first, last, *keys = jax.random.split(key, len(config.channels) + 2)
        channels = [config.channels[-1], *reversed(config.channels)]
        height, width = _sides(shape[:2], len(config.channels))[-1]
        self.first = linear(latents, height * width * channels[0], key=first)
        self.blocks = [_Block(channels[i], channels[i + 1], k) for i, k in enumerate(keys)]
        self.last = linear(channels[-1], shape[2], key=last)
        self.shape, self.config = shape, config

    def __call__(self, z: Float[Array, " q"], key: PRNGKeyArray | None = None) -> Float[Array, "h w c"]:
        sides = _sides(self.shape[:2], len(self.blocks))[::-1]
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        x = self.first(z).reshape(*sides[0], -1)
        for i, block in enumerate(self.blocks):
            x = block(x if i == 0 else resize(x, *sides[i]), self.config.dropout, keys[i])
        return x @ self.last.weight.T + self.last.bias  # pyright: ignore


def _sides(side: tuple[int, ...], levels: int) -> list[tuple[int, int]]:
    """Height and width of every level, the halves rounded up."""
    found = [(side[0], side[1])]
    for _ in range(levels - 1):
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


def make_encoder(config: CoderConfig, inputs: tuple[int, ...], outputs: int, key: PRNGKeyArray) -> eqx.Module:
    """From features of shape `inputs` to `outputs` numbers."""
    if isinstance(config, MLPCoderConfig):
        return _MLP(prod(inputs), (outputs,), config, key)
    return _ConvEncoder((inputs[0], inputs[1], inputs[2]), outputs, config, key)


def make_decoder(config: CoderConfig, latents: int, shape: tuple[int, ...], key: PRNGKeyArray) -> eqx.Module:
    """From `latents` numbers to a sample of a source."""
    if isinstance(config, MLPCoderConfig):
        return _MLP(latents, shape, config, key)
    return _ConvDecoder(latents, (shape[0], shape[1], shape[2]), config, key)
