"""A Gaussian in its eigenbasis, on the host and in double precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian in its eigenbasis: covariance `basis diag(values) basisᵀ` and `rest` along everything else."""

    mean: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "d r"]
    values: Float[np.ndarray, " r"]
    rest: float

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray, rank: int | None = None) -> "Gaussian":
        """From a covariance, in full or reduced to its leading directions (probabilistic PCA)."""
        values, basis = np.linalg.eigh(covariance)
        values, basis = np.maximum(values[::-1], 0), basis[:, ::-1]
        r = len(mean) if rank is None else min(rank, len(mean))
        return cls(mean, basis[:, :r], values[:r], float(values[r:].mean()) if r < len(mean) else 0.0)

    @property
    def total_variance(self) -> float:
        """Trace of the covariance."""
        return float(self.values.sum() + self.rest * (len(self.mean) - len(self.values)))

    def tied(self, share: float) -> "Gaussian":
        r"""With a share :math:`\rho` of its variance spread evenly: :math:`(1 - \rho) S + \rho \, \mathrm{tr}(S) / d \;
        I`.
        """
        level = share * self.total_variance / len(self.mean)
        rest = (1 - share) * self.rest + level if len(self.values) < len(self.mean) else 0.0
        return Gaussian(self.mean, self.basis, (1 - share) * self.values + level, rest)

    def scaled(self, shift: float, scale: float) -> "Gaussian":
        """The law of `shift + scale x`."""
        mean, values = np.asarray(self.mean, float), np.asarray(self.values, float)
        # the square of a scale may leave the range of single precision, in which either may be given
        return Gaussian(shift + scale * mean, self.basis, scale * (scale * values), scale * (scale * float(self.rest)))

    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The covariance as a matrix."""
        return (self.basis * (self.values - self.rest)) @ self.basis.T + self.rest * np.eye(len(self.mean))
