"""Noise with heavy tails, for outliers: a Gaussian whose precision is drawn anew for every entry."""

from math import inf, lgamma, log, pi
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from dichroic.operators.likelihood import GaussianNoise, Likelihood
from dichroic.operators.noise import DiagonalNoise
from dichroic.operators.scale_mixture import mean_precision

__all__ = ["StudentT"]

_NEARLY = 50.0  # degrees of freedom beyond which outliers are no more than Gaussian noise has


class StudentT(Likelihood):
    r"""Student's noise of the scale `s` and :math:`\nu` degrees of freedom, independent entry by entry,

    .. math:: y \sim \mathcal N(m, s^2 / w), \qquad w \sim \Gamma(\nu / 2, \nu / 2) ,

    that is :math:`p(r) \propto (1 + |r|^2 / \nu s^2)^{-(\nu + p)/2}` for the `p` real numbers of an entry: real and
    imaginary part of complex data share `w`. Given the residual :math:`w \sim \Gamma\big((\nu + p)/2,\,
    (\nu + |r|^2/s^2)/2\big)`, of the mean :math:`(\nu + p) / (\nu + |r|^2 / s^2)` (Lange, Little and Taylor, 1989).

    **Arguments:** `scale`, one number or one per entry: the standard deviation where there are no outliers; `freedom`,
    :math:`\nu`, infinite for Gaussian noise.
    """

    entrywise = ("scale",)

    scale: ArrayLike
    freedom: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        if not self.freedom > 0:
            raise ValueError(f"freedom: expected a positive number, got {self.freedom:g}")

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        if self.freedom == inf:
            return DiagonalNoise(self.scale).log_prob(y, m, observed)
        nu, p = self.freedom, _parts(y)
        seen = jnp.broadcast_to(jnp.asarray(observed), y.shape)
        norm = lgamma((nu + p) / 2) - lgamma(nu / 2) - p / 2 * log(nu * pi)
        square = self._square(jnp.where(seen, y - m, 0))
        each = norm - p * jnp.log(jnp.asarray(self.scale)) - (nu + p) / 2 * jnp.log1p(square / nu)
        return jnp.sum(jnp.where(seen, each, 0))

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        noise_key, weight_key = jax.random.split(key)
        z = DiagonalNoise(self.scale).sample(noise_key, jnp.zeros_like(jnp.asarray(m)))
        if self.freedom == inf:
            return m + z
        w = jax.random.gamma(weight_key, self.freedom / 2, z.shape, z.real.dtype) * (2 / self.freedom)
        return m + z / jnp.sqrt(w)

    def gaussian_at(self, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        return self._weighed(y, self._square(y - m))

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> tuple[Any, GaussianNoise]:
        """Of a mean of which nothing is known: the variance, that of three degrees of freedom where there are fewer. Of
        one that is known so well: the precision to be expected.
        """
        if m is None:
            return y, DiagonalNoise(jnp.asarray(self.scale) / (1 - 2 / max(self.freedom, 3.0)) ** 0.5)
        if self.freedom > _NEARLY:
            return y, DiagonalNoise(jnp.broadcast_to(jnp.asarray(self.scale), jnp.shape(y)))
        half = self.freedom / 2
        w = mean_precision(
            self._square(y - m),
            v / jnp.asarray(self.scale) ** 2,
            _parts(y),
            lambda w: (half - 1) * jnp.log(w) - half * w,
        )
        return y, DiagonalNoise(jnp.asarray(self.scale) / jnp.sqrt(w))

    def gaussian_drawn(self, key: PRNGKeyArray, y: Any, m: Any) -> tuple[Any, GaussianNoise]:
        if self.freedom == inf:
            return y, DiagonalNoise(self.scale)
        square = self._square(y - m)
        w = jax.random.gamma(key, (self.freedom + _parts(y)) / 2, square.shape, square.dtype)
        return y, DiagonalNoise(jnp.asarray(self.scale) * jnp.sqrt((self.freedom + square) / (2 * w)))

    def _weighed(self, y: Any, square: Array) -> tuple[Any, GaussianNoise]:
        w = (1 + _parts(y) / self.freedom) / (1 + square / self.freedom)
        return y, DiagonalNoise(jnp.asarray(self.scale) / jnp.sqrt(w))

    def _square(self, r: Any) -> Array:
        return jnp.abs(r) ** 2 / jnp.asarray(self.scale) ** 2


def _parts(y: Any) -> int:
    return 2 if jnp.iscomplexobj(y) else 1
