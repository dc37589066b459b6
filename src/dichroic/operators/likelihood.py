r"""How data scatter about the mixture of their sources: :math:`p(y \mid m)`, :math:`m = \sum_s A_s x_s`.

Whatever the noise, the posterior methods work with linear-Gaussian observations: a likelihood says which one stands for
it near a mean. Gaussian noise is its own. Entries that were not observed say nothing and are left out everywhere.

What stands for it has the score of the likelihood at the mean,
:math:`\Sigma^{-1} (\tilde y - m) = \nabla_m \log p(y \mid m)`, so that what an iteration over the mean settles at is
right; with :math:`\Sigma = \mathrm E[(\tilde y - m)^2]` over data, chi-square is 1 on average.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

__all__ = ["GaussianNoise", "Likelihood", "ScaledNoise"]


class Likelihood(eqx.Module):
    """The law of one observation given its mean.

    `entrywise` names the fields that hold one positive number per entry (or one for all): they are checked, read and
    filled up where data are missing without being told. `additive` says that the noise :math:`y - m` has one law,
    whatever the mean.
    """

    entrywise: ClassVar[tuple[str, ...]] = ()
    additive: ClassVar[bool] = True

    @abstractmethod
    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        r""":math:`\log p(y \mid m)`, normalised, over the entries where `observed` is true."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        r"""A draw of :math:`p(y \mid m)`, in single precision or that of `m`."""

    @abstractmethod
    def gaussian_at(self, y: Any, m: Any) -> "tuple[Any, GaussianNoise]":
        r"""The observation :math:`\tilde y = m + n`, :math:`n \sim \mathcal N(0, \Sigma)`, that stands for it near `m`.

        **Returns** :math:`\tilde y` and the noise.
        """

    def gaussian_near(self, y: Any, m: Any = None, v: Any = None) -> "tuple[Any, GaussianNoise]":
        """The same where the mean is known only as a Gaussian about `m` of variance `v`, or (None) not at all."""
        return self.gaussian_at(y, y if m is None else m)

    def gaussian_drawn(self, key: PRNGKeyArray, y: Any, m: Any) -> "tuple[Any, GaussianNoise]":
        r"""The same for draws of the sources: where :math:`p(y \mid m) = \int p(a)\, p(y \mid a, m)\, da` with
        Gaussian observations given `a`, the one of a draw of :math:`p(a \mid y, m)`.
        """
        return self.gaussian_at(y, m)

    def fault(self, y: np.ndarray) -> str | None:
        """What is wrong with observed values `y`, which this cannot have made; None where nothing is."""
        return None


class GaussianNoise(Likelihood):
    r""":math:`y \sim \mathcal N(m, \Sigma)`, through a square root :math:`W` of the inverse of :math:`\Sigma`.

    The noise of complex data is circular: :math:`\Sigma` is the covariance of their real part and of their imaginary
    part, each.
    """

    @abstractmethod
    def whiten(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        r""":math:`W r` with :math:`W^* W = \Sigma^{-1}`: turns noise into unit white noise."""

    @abstractmethod
    def unwhiten(self, z: Num[Array, "..."]) -> Num[Array, "..."]:
        r""":math:`W^{-1} z`: turns unit white noise into a draw of the noise."""

    @abstractmethod
    def solve(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        r""":math:`\Sigma^{-1} r`."""

    @abstractmethod
    def log_det(self, observed: Array) -> Float[Array, ""]:
        r""":math:`\log\det\Sigma` over the entries where `observed` is true (each counted once, also when complex)."""

    def deviations(self) -> np.ndarray | None:
        """Standard deviations of the entries, to be broadcast (flat, where correlated); None where they are unknown."""
        return None

    def diagonal(self) -> np.ndarray | None:
        """The same where the entries are independent, None where they are not."""
        return None

    def scaled(self, factor: float) -> "GaussianNoise":
        """Noise that is `factor` times this."""
        return ScaledNoise(self, factor)

    def log_prob(self, y: Num[Array, "..."], m: Num[Array, "..."], observed: ArrayLike = True) -> Float[Array, ""]:
        seen = jnp.broadcast_to(jnp.asarray(observed), y.shape)
        r = jnp.where(seen, self.whiten(jnp.where(seen, y - m, 0)), 0)
        parts = 2 if jnp.iscomplexobj(r) else 1
        norm = self.log_det(seen) + jnp.sum(seen) * jnp.log(2 * jnp.pi)
        return -(jnp.sum(jnp.abs(r) ** 2) + parts * norm) / 2

    def sample(self, key: PRNGKeyArray, m: Num[Array, "..."]) -> Num[Array, "..."]:
        m = jnp.asarray(m)
        if jnp.iscomplexobj(m):
            real, imaginary = jax.random.normal(key, (2, *m.shape), m.real.dtype)
            return m + self.unwhiten(real + 1j * imaginary)
        return m + self.unwhiten(jax.random.normal(key, m.shape, m.dtype))

    def gaussian_at(self, y: Any, m: Any) -> "tuple[Any, GaussianNoise]":
        return y, self


class ScaledNoise(GaussianNoise):
    """Noise that is `factor` times another."""

    noise: GaussianNoise
    factor: float = eqx.field(static=True)

    def whiten(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return self.noise.whiten(r) / self.factor

    def unwhiten(self, z: Num[Array, "..."]) -> Num[Array, "..."]:
        return self.noise.unwhiten(z) * self.factor

    def solve(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return self.noise.solve(r) / self.factor**2

    def log_det(self, observed: Array) -> Float[Array, ""]:
        return self.noise.log_det(observed) + 2 * jnp.log(self.factor) * jnp.sum(observed)

    def deviations(self) -> np.ndarray | None:
        return None if (std := self.noise.deviations()) is None else self.factor * std

    def diagonal(self) -> np.ndarray | None:
        return None if (std := self.noise.diagonal()) is None else self.factor * std
