"""Gaussian noise, independent or correlated.

The noise of complex data is circular: `std` is the standard deviation of its real part and of its imaginary part, each.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from dichroic.operators.likelihood import GaussianNoise

__all__ = ["DenseNoise", "DiagonalNoise"]


class DiagonalNoise(GaussianNoise):
    """Independent noise. `std` is one number for all entries or an array with the shape of the observation.

    An infinite `std` says that nothing was measured there: a view takes such entries as missing.
    """

    entrywise = ("std",)

    std: ArrayLike

    @classmethod
    def from_variance(cls, variance: ArrayLike) -> "DiagonalNoise":
        """From variances, the squares of standard deviations.

        **Raises:** `ValueError` for one variance that is none; among many, such may stand where nothing was measured.
        """
        if np.ndim(variance) == 0 and not 0 < np.real(variance) < np.inf:
            raise ValueError(f"expected a positive number, got {variance:g}")
        with np.errstate(invalid="ignore"):
            return cls(np.sqrt(np.asarray(variance)))

    @classmethod
    def from_weight(cls, weight: ArrayLike) -> "DiagonalNoise":
        """From inverse variances; a weight of zero is an entry that was not measured.

        **Raises:** `ValueError` for one weight that is none.
        """
        if np.ndim(weight) == 0 and not 0 < np.real(weight) < np.inf:
            raise ValueError(f"expected a positive number, got {weight:g}")
        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(1 / np.sqrt(np.asarray(weight) + 0.0))  # -0.0 is a weight of zero, too

    def whiten(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return r / self._std(r)

    def unwhiten(self, z: Num[Array, "..."]) -> Num[Array, "..."]:
        return z * self._std(z)

    def solve(self, r: Num[Array, "..."]) -> Num[Array, "..."]:
        return r / self._std(r) ** 2

    def log_det(self, observed: Array) -> Float[Array, ""]:
        return jnp.sum(jnp.where(observed, 2 * jnp.log(jnp.broadcast_to(jnp.asarray(self.std), observed.shape)), 0))

    def deviations(self) -> np.ndarray:
        return np.asarray(self.std, float)

    def diagonal(self) -> np.ndarray:
        return self.deviations()

    def scaled(self, factor: float) -> "DiagonalNoise":
        std = np.asarray(self.std) * factor
        return DiagonalNoise(std if std.ndim else float(std))

    def _std(self, like: Array) -> Array:
        return jnp.asarray(self.std).astype(like.real.dtype)


class DenseNoise(GaussianNoise):
    r"""Correlated noise with a full covariance over the flattened observation.

    Built by :meth:`from_covariance`, which factorises once, outside any compiled program. Missing entries are
    handled there too: the covariance of what is observed is factorised, and the others get unit white noise.
    """

    factor: ArrayLike  # L, with L Lᵀ = Σ
    whitener: ArrayLike  # W = L⁻¹

    @classmethod
    def from_covariance(cls, covariance: np.ndarray, observed: np.ndarray | None = None) -> "DenseNoise":
        """From covariances, shape `(..., m, m)`, and optional masks of what is observed, shape `(..., m)`.

        Rounding is forgiven, in any unit: a covariance may be symmetric to single precision, or to that of its type.

        **Raises:** `ValueError` when a covariance is not symmetric positive definite.
        """
        covariance = np.asarray(covariance)
        eps = np.finfo(covariance.dtype).eps if covariance.dtype.kind == "f" else np.finfo(float).eps
        covariance = covariance.astype(float)
        if observed is not None:
            both = observed[..., :, None] & observed[..., None, :]
            covariance = np.where(both, covariance, np.eye(covariance.shape[-1]))
        for fault in _faults(covariance, float(eps)):
            raise ValueError(f"DenseNoise: the covariance {fault}")
        factor = np.linalg.cholesky((covariance + covariance.swapaxes(-1, -2)) / 2)
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

    def deviations(self) -> np.ndarray:
        return np.sqrt((np.asarray(self.factor, float) ** 2).sum(-1))

    def scaled(self, factor: float) -> "DenseNoise":
        return DenseNoise(np.asarray(self.factor) * factor, np.asarray(self.whitener) / factor)

    @staticmethod
    def _apply(matrix: ArrayLike, r: Array) -> Array:
        return (jnp.asarray(matrix).astype(r.dtype) @ r.reshape(-1)).reshape(r.shape)


def _faults(covariance: np.ndarray, eps: float) -> Iterator[str]:
    """What is no covariance; every tolerance is relative to the variances, so that units do not matter."""
    m = covariance.shape[-1]
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    if (variance <= 0).any():
        worst = np.argwhere(variance <= 0)[0]
        yield f"is not positive definite: entry {int(worst[-1])} has the variance {variance[tuple(worst)]:g}"
        return
    std = np.sqrt(variance)
    correlation = covariance / std[..., :, None] / std[..., None, :]
    if np.abs(correlation - correlation.swapaxes(-1, -2)).max() > max(1e-5, m * eps):
        yield "is not symmetric"
        return
    values = np.linalg.eigvalsh((correlation + correlation.swapaxes(-1, -2)) / 2)
    floor = m * eps * values[..., -1:]
    if (values < -floor).any():
        lowest = np.linalg.eigvalsh((covariance + covariance.swapaxes(-1, -2)) / 2).min()
        yield f"is not positive definite: its smallest eigenvalue is {lowest:.3g}"
    elif (values <= floor).any():
        none = int((values <= floor).sum(-1).max())
        yield (
            f"has no noise at all along {none} of {m} directions (rank {m - none}): leave as many values out, or "
            "project data and operators on the directions that have noise"
        )
