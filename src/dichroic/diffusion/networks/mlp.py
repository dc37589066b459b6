"""The time-conditioned multilayer perceptron of DDPRISM (arXiv 2510.05205, table 2) and DiEM."""

from math import prod
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, PositiveInt

from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.layers import dropout, layer_norm, linear, noise_embedding
from dichroic.kinds import Share

__all__ = ["MLP", "MLPConfig"]


class MLPConfig(NetworkConfig):
    """Settings of an `MLP`."""

    kind: Literal["mlp"] = "mlp"
    width: PositiveInt = 256
    """Units of a layer."""
    depth: Annotated[int, Field(gt=0, le=1024)] = 3
    """Hidden layers."""
    embedding: PositiveInt = 64
    """Size of the embedding of the noise level."""
    conditioning: Literal["concat", "film"] = "concat"
    """How the noise level enters."""
    dropout: Share = 0.0
    """Share of units dropped in training."""

    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> "MLP":
        return MLP(shape, self, key=key, out_scale=out_scale)


class MLP(eqx.Module):
    r"""Hidden layers of `Dense -> (FiLM) -> SiLU -> LayerNorm -> Dropout`, then a dense layer to the size of the
    source.

    The noise level enters as its embedding `e`, appended to the input ("concat"), or as an affine change of every dense
    output, :math:`h \mapsto (1 + g(e)) h + b(e)` ("film").
    """

    hidden: list[eqx.nn.Linear]
    film: list[eqx.nn.Linear]
    gains: Float[Array, "depth width"]
    biases: Float[Array, "depth width"]
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    config: MLPConfig = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], config: MLPConfig, *, key: PRNGKeyArray, out_scale: float = 1.0):
        hidden_key, film_key, last_key = jax.random.split(key, 3)
        concat = config.conditioning == "concat"
        width, depth, size = config.width, config.depth, prod(shape)
        widths = [size + (config.embedding if concat else 0)] + [width] * depth
        self.hidden = [linear(widths[i], width, key=k) for i, k in enumerate(jax.random.split(hidden_key, depth))]
        self.film = [
            linear(config.embedding, 2 * width, key=k) for k in jax.random.split(film_key, depth) if not concat
        ]
        self.gains, self.biases = jnp.ones((depth, width)), jnp.zeros((depth, width))
        self.last = linear(width, size, key=last_key, scale=out_scale)
        self.shape, self.config = shape, config

    def __call__(
        self, x: Float[Array, "..."], sigma: Float[Array, ""], key: PRNGKeyArray | None = None
    ) -> Float[Array, "..."]:
        e = noise_embedding(sigma, self.config.embedding).astype(x.dtype)
        h = x.reshape(-1)
        if self.config.conditioning == "concat":
            h = jnp.concatenate([h, e])
        keys = [None] * self.config.depth if key is None else jax.random.split(key, self.config.depth)
        for i, layer in enumerate(self.hidden):
            h = layer(h)
            if self.film:
                gain, shift = jnp.split(self.film[i](e), 2)
                h = (1 + gain) * h + shift
            h = self.gains[i] * layer_norm(jax.nn.silu(h)) + self.biases[i]
            h = dropout(h, self.config.dropout, keys[i])
        return self.last(h).reshape(x.shape)
