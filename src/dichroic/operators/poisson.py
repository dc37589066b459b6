"""Counts of a detector, with the noise of reading them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from dichroic.operators.likelihood import GaussianNoise, Likelihood
from dichroic.operators.noise import DiagonalNoise

__all__ = ["Poisson"]

_LEAST = 0.25  # counts below which an expectation is taken for this one: noise is not to vanish
_FEWEST = 0.02  # counts taken for this many where the curvature is theirs


class Poisson(Likelihood):
    r""":math:`y = g k + \rho z` with counts :math:`k \sim \mathrm{Poisson}(m / g)` and :math:`z \sim \mathcal N(0, 1)`.

    The density is that of :math:`(g y + \rho^2) / g^2` taken for Poisson of the mean :math:`\lambda = (g m + \rho^2) /
    g^2`: it has mean and variance of `y`, and is exact without read noise (Snyder, Hammoud and White, 1993). A Gaussian
    of the variance :math:`g m + \rho^2` has its score.

    **Arguments:** `gain`, units of `y` per count, one number or one per entry; `read`, :math:`\rho`, in units of `y`.
    """

    entrywise = ("gain",)
    additive = False

    gain: ArrayLike
    read: float = eqx.field(static=True, default=0.0, converter=float)

    def __check_init__(self):
        if not 0 <= self.read < float("inf"):
            raise ValueError(f"read: expected a number that is 0 or more, got {self.read:g}")

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        seen = jnp.broadcast_to(jnp.asarray(observed), y.shape)
        k, rate = self._counts(jnp.where(seen, y, 0)), self._counts(m, _LEAST)
        each = k * jnp.log(rate) - rate - jax.scipy.special.gammaln(k + 1) - jnp.log(jnp.asarray(self.gain))
        return jnp.sum(jnp.where(seen, each, 0))

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        count_key, read_key = jax.random.split(key)
        m = jnp.asarray(m)
        g = jnp.asarray(self.gain).astype(m.dtype)
        k = jax.random.poisson(count_key, jnp.maximum(m / g, 0)).astype(m.dtype)
        return g * k + self.read * jax.random.normal(read_key, m.shape, m.dtype)

    def gaussian_at(self, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        rate = self._counts(m, _LEAST)
        g = jnp.asarray(self.gain)
        return m + g * (self._counts(y) - rate), DiagonalNoise(g * jnp.sqrt(rate))

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> tuple[Any, GaussianNoise]:
        """Of a mean of which nothing is known: one count more than there are, as a flat prior says of their mean."""
        if m is not None:
            return self.gaussian_at(y, m)
        g = jnp.asarray(self.gain)
        return y, DiagonalNoise(g * jnp.sqrt(self._counts(y) + 1))

    def gaussian_drawn(self, key: PRNGKeyArray, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        r"""With the curvature of this density, :math:`k / \lambda^2`: few counts say little of the mean."""
        k, rate, g = self._counts(y), self._counts(m, _LEAST), jnp.asarray(self.gain)
        variance = rate**2 / jnp.maximum(k, _FEWEST)
        return m + g * variance * (k / rate - 1), DiagonalNoise(g * jnp.sqrt(variance))

    def fault(self, y: np.ndarray) -> str | None:
        if np.iscomplexobj(y):
            return "counts are real numbers, and y is complex"
        if self.read == 0 and (y < 0).any():
            return f"counts are never negative, and y has {y.min():g}; give the read noise, or add what was subtracted"
        return None

    def _counts(self, y: Any, least: float = 0.0) -> Array:
        g = jnp.asarray(self.gain)
        return jnp.maximum((y + self.read**2 / g) / g, least)
