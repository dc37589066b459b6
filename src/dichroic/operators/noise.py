r"""Covariances of the noise of one observation.

The noise of a complex observation is circular: `std` is the standard deviation of its real part and of its
imaginary part, each.
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

__all__ = ["DenseNoise", "DiagonalNoise", "Noise"]


class Noise(eqx.Module):
    r"""Covariance :math:`\Sigma` of one observation, through a square root :math:`W` of its inverse."""

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


class DiagonalNoise(Noise):
    """Independent noise. `std` is one number for all entries or an array with the shape of the observation."""

    std: ArrayLike

    def whiten(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return r / self._std(r)

    def unwhiten(self, z: Num[Array, "..."]) -> Num[Array, "..."]:
        return z * self._std(z)

    def solve(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return r / self._std(r) ** 2

    def log_det(self, observed: Array) -> Float[Array, ""]:
        return jnp.sum(jnp.where(observed, 2 * jnp.log(jnp.broadcast_to(jnp.asarray(self.std), observed.shape)), 0))

    def _std(self, like: Array) -> Array:
        return jnp.asarray(self.std).astype(like.real.dtype)


class DenseNoise(Noise):
    r"""Correlated noise with a full covariance over the flattened observation.

    Built by :meth:`from_covariance`, which factorises once, outside any compiled program. Missing entries are
    handled there too: the covariance of what is observed is factorised, and the others get unit white noise.
    """

    factor: ArrayLike  # L, with L Lᵀ = Σ
    whitener: ArrayLike  # W = L⁻¹

    @classmethod
    def from_covariance(cls, covariance: np.ndarray, observed: np.ndarray | None = None) -> "DenseNoise":
        """From covariances, shape `(..., m, m)`, and optional masks of what is observed, shape `(..., m)`.

        **Raises:** `ValueError` when a covariance is not symmetric positive definite.
        """
        covariance = np.asarray(covariance, dtype=float)
        if observed is not None:
            both = observed[..., :, None] & observed[..., None, :]
            covariance = np.where(both, covariance, np.eye(covariance.shape[-1]))
        if not np.allclose(covariance, covariance.swapaxes(-1, -2), rtol=1e-5, atol=1e-12):
            raise ValueError("DenseNoise: the covariance is not symmetric")
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError("DenseNoise: the covariance is not positive definite") from error
        return cls(factor, np.linalg.inv(factor))

    def whiten(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return self._apply(self.whitener, r)

    def unwhiten(self, z: Num[Array, "..."]) -> Num[Array, "..."]:
        return self._apply(self.factor, z)

    def solve(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return self._apply(jnp.asarray(self.whitener).swapaxes(-1, -2), self.whiten(r))

    def log_det(self, observed: Array) -> Float[Array, ""]:
        # entries that are not observed have a unit pivot
        return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.asarray(self.factor))))

    @staticmethod
    def _apply(matrix: ArrayLike, r: Array) -> Array:
        return (jnp.asarray(matrix).astype(r.dtype) @ r.reshape(-1)).reshape(r.shape)
