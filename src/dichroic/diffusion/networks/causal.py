"""A causal transformer of windows of a series, which answers while it is still coming in."""

from math import sqrt
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.conv import dense
from dichroic.diffusion.networks.layers import layer_norm, linear, noise_embedding

__all__ = ["Causal", "CausalConfig"]


class CausalConfig(NetworkConfig):
    """Settings of a `Causal`."""

    kind: Literal["causal"] = "causal"
    window: PositiveInt = 16
    """Samples that are read, and answered, at once."""
    ahead: NonNegativeInt = 4
    """Windows that are read before one is answered."""
    width: PositiveInt = 64
    """Numbers that a window becomes."""
    depth: Annotated[int, Field(gt=0, le=256)] = 4
    """Blocks of attention and dense layers."""
    attention_heads: PositiveInt = 4
    """Attention heads, which divide the width."""
    embedding: PositiveInt = 64
    """Size of the embedding of the noise level."""

    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> "Causal":
        return Causal(shape, self, key=key, out_scale=out_scale)

    @model_validator(mode="after")
    def _check(self) -> "CausalConfig":
        if self.width % (2 * self.attention_heads):
            raise ValueError("attention_heads must divide half the width")
        return self

    @property
    def latency(self) -> int:
        """Samples that come in after one before it is answered, at most."""
        return (self.ahead + 1) * self.window - 1


class Causal(eqx.Module):
    r"""For series `(L,)` and `(L, C)`. Windows become tokens by a linear map, with sines of their number for a place;
    a token attends to itself and those before, and what is said of window `t` is read off token `t + ahead`. Blocks are

    .. math:: h \leftarrow h + \mathrm{attention}(\mathrm{norm}\, h + W e), \qquad
        h \leftarrow h + V\, \mathrm{gelu}(U\, \mathrm{norm}\, h) ,

    `e` the embedding of the noise level. The low-latency separator of Jayashankar's thesis (MIT 2025, chapter 6) with
    its encoder alone: what has been decided before is not read again.
    """

    enter: eqx.nn.Linear
    blocks: list["_Block"]
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: CausalConfig = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], config: CausalConfig, *, key: PRNGKeyArray, out_scale: float = 1.0):
        if len(shape) > 2:
            raise ValueError(f"a causal transformer is for series (length,) or (length, channels), got {shape}")
        values = config.window * (shape[1] if len(shape) == 2 else 1)
        first, last, *keys = jax.random.split(key, 2 + config.depth)
        self.enter = linear(values, config.width, key=first)
        self.blocks = [_Block(config, key=k) for k in keys]
        self.last = linear(config.width, values, key=last, scale=out_scale)
        self.shape, self.config = shape, config

    def __call__(
        self, x: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        window, ahead = self.config.window, self.config.ahead
        length = self.shape[0]
        windows = -(-length // window)
        padded = jnp.pad(x.reshape(length, -1), ((0, (windows + ahead) * window - length), (0, 0)))
        e = noise_embedding(sigma, self.config.embedding).astype(x.dtype)
        h = dense(self.enter, padded.reshape(windows + ahead, -1))
        h = h + jnp.asarray(_places(windows + ahead, self.config.width), x.dtype)
        for block in self.blocks:
            h = block(h, e)
        out = dense(self.last, layer_norm(h))[ahead:]
        return out.reshape(windows * window, -1)[:length].reshape(self.shape)


class _Block(eqx.Module):
    told: eqx.nn.Linear
    project: eqx.nn.Linear
    join: eqx.nn.Linear
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: CausalConfig, *, key: PRNGKeyArray):
        a, b, c, d, e = jax.random.split(key, 5)
        width, less = config.width, 1 / sqrt(2 * config.depth)
        self.told = linear(config.embedding, width, key=a)
        self.project, self.join = linear(width, 3 * width, key=b), linear(width, width, key=c, scale=less)
        self.first, self.second = linear(width, 4 * width, key=d), linear(4 * width, width, key=e, scale=less)
        self.heads = config.attention_heads

    def __call__(self, h: Float[Array, "t w"], e: Float[Array, " e"]) -> Float[Array, "t w"]:
        t, w = h.shape
        q, k, v = jnp.split(dense(self.project, layer_norm(h) + dense(self.told, e)), 3, axis=-1)
        q, k, v = (a.reshape(t, self.heads, -1) for a in (q, k, v))
        scores = jnp.einsum("qhc,khc->hqk", q, k) * (self.heads / w) ** 0.5
        scores = jnp.where(np.tril(np.ones((t, t), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("hqk,khc->qhc", jax.nn.softmax(scores), v).reshape(t, w)
        h = h + dense(self.join, mixed)
        return h + dense(self.second, jax.nn.gelu(dense(self.first, layer_norm(h))))


def _places(count: int, width: int) -> Float[np.ndarray, "t w"]:
    """Sines and cosines of the number of a window, of wavelengths from four of them up."""
    phase = np.arange(count)[:, None] * (np.pi / 2) * np.geomspace(1, 1e-3, width // 2)
    return np.concatenate([np.sin(phase), np.cos(phase)], 1)
