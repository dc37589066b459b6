"""A stack of dilated convolutions for series: DiffWave (Kong et al., ICLR 2021, arXiv 2009.09761), not causal."""

from math import sqrt
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, PositiveInt

from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.conv import dense
from dichroic.diffusion.networks.layers import linear, noise_embedding, truncated_normal

__all__ = ["DiffWave", "DiffWaveConfig"]


class DiffWaveConfig(NetworkConfig):
    """Settings of a `DiffWave`; of the published radio priors: 64 to 256 channels, 30 blocks, a cycle of 10."""

    kind: Literal["diffwave"] = "diffwave"
    width: PositiveInt = 32
    """Channels of a block."""
    depth: Annotated[int, Field(gt=0, le=1024)] = 10
    """Residual blocks."""
    cycle: Annotated[int, Field(gt=0, le=24)] = 10
    """Blocks after which the dilation, which doubles from one to the next, is 1 again."""
    embedding: PositiveInt = 64
    """Size of the embedding of the noise level."""

    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> "DiffWave":
        return DiffWave(shape, self, key=key, out_scale=out_scale)


class DiffWave(eqx.Module):
    r"""For series `(L,)` and `(L, C)`, complex ones as pairs. Block `i`, with a convolution of three taps
    :math:`2^{i \bmod m}` apart,

    .. math:: (a, b) = C_i (h + W_i e), \qquad (r, s) = V_i (\sigma(a) \tanh b), \qquad h \leftarrow (h + r) / \sqrt 2 ,

    `e` the embedding of the noise level; what comes out is a dense network of the sum of all `s`.
    """

    enter: eqx.nn.Linear
    embed: eqx.nn.Linear
    blocks: list["_Block"]
    join: eqx.nn.Linear
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: DiffWaveConfig = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], config: DiffWaveConfig, *, key: PRNGKeyArray, out_scale: float = 1.0):
        if len(shape) > 2:
            raise ValueError(f"DiffWave is for series (length,) or (length, channels), got {shape}")
        values = shape[1] if len(shape) == 2 else 1
        keys = iter(jax.random.split(key, 4 + config.depth))
        c, e = config.width, config.embedding
        self.enter, self.embed = linear(values, c, key=next(keys)), linear(e, e, key=next(keys))
        self.join, self.last = linear(c, c, key=next(keys)), linear(c, values, key=next(keys), scale=out_scale)
        self.blocks = [_Block(c, e, 2 ** (i % config.cycle), key=next(keys)) for i in range(config.depth)]
        self.shape, self.config = shape, config

    def __call__(
        self, x: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        e = noise_embedding(sigma, self.config.embedding).astype(x.dtype)
        e = jax.nn.silu(dense(self.embed, e))
        h = jax.nn.relu(dense(self.enter, x if x.ndim == 2 else x[:, None]))
        total = jnp.zeros_like(h)
        for block in self.blocks:
            h, skipped = block(h, e)
            total = total + skipped
        total = total / sqrt(len(self.blocks))
        return dense(self.last, jax.nn.relu(dense(self.join, total))).reshape(self.shape)


class _Block(eqx.Module):
    kernel: Float[Array, "3 c c2"]
    told: eqx.nn.Linear
    out: eqx.nn.Linear
    dilation: int = eqx.field(static=True)

    def __init__(self, channels: int, embedding: int, dilation: int, *, key: PRNGKeyArray):
        a, b, c = jax.random.split(key, 3)
        self.kernel = truncated_normal(a, (3, channels, 2 * channels)) * sqrt(2 / (3 * channels)) / 0.8796
        self.told, self.out = linear(embedding, channels, key=b), linear(channels, 2 * channels, key=c, scale=sqrt(2))
        self.dilation = dilation

    def __call__(self, h: Float[Array, "t c"], e: Float[Array, " e"]) -> tuple[Array, Array]:
        u, names, far = h + dense(self.told, e), ("NWC", "WIO", "NWC"), (self.dilation,)
        u = jax.lax.conv_general_dilated(u[None], self.kernel, (1,), "SAME", rhs_dilation=far, dimension_numbers=names)
        a, b = jnp.split(u[0], 2, axis=-1)
        r, s = jnp.split(dense(self.out, jax.nn.sigmoid(a) * jnp.tanh(b)), 2, axis=-1)
        return (h + r) / sqrt(2), s
