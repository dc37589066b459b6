"""Noise whose absolute value counts, not its square: between Gaussian noise and outliers."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from dichroic.operators.likelihood import GaussianNoise, Likelihood
from dichroic.operators.noise import DiagonalNoise
from dichroic.operators.scale_mixture import mean_precision

__all__ = ["Laplace"]

_LEAST = 1e-3  # residual, in scales, below which it is not told from none: a variance is not to vanish


class Laplace(Likelihood):
    r""":math:`p(y \mid m) = \prod e^{-|y - m| / b} / 2b`; for complex data :math:`\prod e^{-|y - m| / b} / 2 \pi b^2`.

    A Gaussian whose variance is drawn anew for every entry, exponential of the mean :math:`2 b^2` for real data; given
    the residual, :math:`1/v` is inverse Gaussian of the mean :math:`1 / b|r|` and the shape :math:`1 / b^2` (Park and
    Casella, 2008; for several numbers together Kyung et al., 2010).

    **Arguments:** `scale`, `b`, one number or one per entry: the mean of :math:`|y - m|` for real data.
    """

    entrywise = ("scale",)

    scale: ArrayLike

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        b = jnp.asarray(self.scale)
        seen = jnp.broadcast_to(jnp.asarray(observed), y.shape)
        norm = jnp.log(2 * jnp.pi * b**2 if jnp.iscomplexobj(y) else 2 * b)
        return -jnp.sum(jnp.where(seen, jnp.abs(jnp.where(seen, y - m, 0)) / b + norm, 0))

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        m = jnp.asarray(m)
        if not jnp.iscomplexobj(m):
            return m + jnp.asarray(self.scale).astype(m.dtype) * jax.random.laplace(key, m.shape, m.dtype)
        length, turn = jax.random.uniform(key, (2, *m.shape, 2), m.real.dtype, minval=jnp.finfo(m.real.dtype).tiny)
        radius = -jnp.log(length).sum(-1)  # of the density r exp(-r)
        return m + jnp.asarray(self.scale).astype(m.real.dtype) * radius * jnp.exp(2j * jnp.pi * turn[..., 0])

    def gaussian_at(self, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        return y, DiagonalNoise(jnp.asarray(self.scale) * jnp.sqrt(self._size(y - m)))

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> tuple[Any, GaussianNoise]:
        """Of a mean of which nothing is known: the variance."""
        b, parts = jnp.asarray(self.scale), 2 if jnp.iscomplexobj(y) else 1
        if m is None:
            return y, DiagonalNoise(b * (parts + 1) ** 0.5)
        shape = (parts + 1) / 2  # of the gamma law of the variance, in units of 2 b^2
        w = mean_precision(jnp.abs(y - m) ** 2 / b**2, v / b**2, parts, lambda w: -(shape + 1) * jnp.log(w) - 0.5 / w)
        return y, DiagonalNoise(b / jnp.sqrt(w))

    def gaussian_drawn(self, key: PRNGKeyArray, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        a = self._size(y - m)
        normal_key, choice_key = jax.random.split(key)
        # Michael, Schucany and Haas (1976), written so that nothing cancels: both roots times a
        w = jnp.maximum(jax.random.normal(normal_key, a.shape, a.dtype) ** 2, jnp.finfo(a.dtype).tiny) / a
        f = 4 * w / (w + jnp.sqrt(w**2 + 4 * w)) ** 2
        first = jax.random.uniform(choice_key, a.shape, a.dtype) * (1 + f) < 1
        return y, DiagonalNoise(jnp.asarray(self.scale) * jnp.sqrt(a * jnp.where(first, 1 / f, f)))

    def _size(self, r: Any) -> Array:
        return jnp.maximum(jnp.abs(r) / jnp.asarray(self.scale), _LEAST)
