r"""A first estimate of a source without likelihood, noise model or prior: Noisier2Noise.

Add to an observation :math:`y = A x + b` an independent background, :math:`z = y + b'`. Given `z`, `b` and :math:`b'`
are exchangeable, so the signal :math:`s = A x` has

.. math:: \mathrm{E}[s \mid z] = z - 2\, \mathrm{E}[b' \mid z] ,

and :math:`\mathrm{E}[b' \mid z]` is an ordinary regression, on as many pairs as one likes (Moran et al., CVPR 2020,
with the background in the place of noise). The estimate of one `y` is an average over a few :math:`b'`. It is
a mean: as a population its estimates are too narrow.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.denoiser import trainable_in
from dichroic.diffusion.networks.conv import ConvConfig
from dichroic.law.contrast import Contrast
from dichroic.law.descent import Descent, Report, descend, half

__all__ = ["Regression", "channels", "convolutional", "estimates"]


class Regression(eqx.Module):
    """:math:`E[b' | z]`, half of `z` and what a network adds to it."""

    network: Any
    precise: bool = eqx.field(static=True)

    @classmethod
    def create(cls, contrast: Contrast, config: ConvConfig, *, precise: bool, key: PRNGKeyArray) -> "Regression":
        """With a fresh network."""
        example = channels(contrast.y[0], *([] if contrast.seen is None else [contrast.seen[0]]))
        return cls(convolutional(config, contrast).build(example.shape, key=key, out_scale=0.1), precise)

    def trained(
        self, contrast: Contrast, how: Descent, *, batch: int, key: PRNGKeyArray, report: Report | None = None
    ) -> tuple["Regression", Array]:
        """On pairs of an observation and a background, made anew at every step."""
        return descend(self, _loss, (contrast, jnp.zeros(batch)), how, key=key, report=report)

    def trainable(self) -> "Regression":
        """The network."""
        return trainable_in(self, lambda m: m.network)

    def __call__(self, z: Float[Array, "..."], seen: Float[Array, "..."] | None) -> Float[Array, "..."]:
        inputs = channels(z, *([] if seen is None else [seen]))
        network = self.network if self.precise else half(self.network)
        out = network(inputs.astype(jnp.float32 if self.precise else jnp.bfloat16), jnp.ones(()))
        return z / 2 + out[..., : out.shape[-1] // (1 if seen is None else 2)].astype(z.dtype).reshape(z.shape)


def channels(*parts: Float[Array, "..."]) -> Float[Array, "... c"]:
    """Arrays of one shape side by side in a last axis: images are `(H, W, C)`, series `(L, C)`."""
    return jnp.concatenate([a if a.ndim == 3 else a[..., None] for a in parts], -1)


def convolutional(config: ConvConfig, contrast: Contrast) -> ConvConfig:
    """The settings for what `channels` returns."""
    return config.model_copy(update={"axes": min(len(contrast.shape), 2), "convolution": "library"})


def _loss(model: Regression, data: tuple[Contrast, Array], key: PRNGKeyArray) -> Array:
    contrast, batch = data

    def one(key: PRNGKeyArray) -> Array:
        pick, draw = jax.random.split(key)
        i = jax.random.randint(pick, (), 0, len(contrast))
        b = contrast.beside(i, draw)
        seen = None if contrast.seen is None else contrast.seen[i]
        error = (model(contrast.y[i] + b, seen) - b) ** 2
        return error.mean() if seen is None else (error * seen).sum() / jnp.maximum(seen.sum(), 1)

    return jax.vmap(one)(jax.random.split(key, len(batch))).mean()


@eqx.filter_jit
def _estimates(
    model: Regression, contrast: Contrast, y: Array, rows: Array, keys: Array, times: int
) -> Float[Array, "n ..."]:
    def one(y: Array, i: Array, key: PRNGKeyArray) -> Array:
        def once(key: PRNGKeyArray) -> Array:
            z = y + contrast.beside(i, key)
            return z - 2 * model(z, None if contrast.seen is None else contrast.seen[i])

        return jax.vmap(once)(jax.random.split(key, times)).mean(0)

    return jax.vmap(one)(y, rows, keys)


def estimates(
    model: Regression, contrast: Contrast, y: Any, rows: Any, *, times: int, key: PRNGKeyArray, batch: int = 64
) -> Float[Array, "n ..."]:
    """The signals of observations `y` of the kinds of `rows`, each averaged over so many backgrounds."""
    n, found = len(y), []
    y, rows = jnp.asarray(y), jnp.asarray(rows)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n))
    for begin in range(0, n, batch):
        at = jnp.minimum(jnp.arange(begin, begin + batch), n - 1)
        found.append(_estimates(model, contrast, y[at], rows[at], keys[at], times))
    return jnp.concatenate(found)[:n]
