"""Components: the Gaussians of a mixture, on the host and in double precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dichroic.algebra.gaussian import Gaussian

__all__ = ["Components"]


@dataclass(frozen=True)
class Components:
    """The `K` Gaussians that a source of `d` numbers is a mixture of; the weights sum to one."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]
    covariances: Float[np.ndarray, "K d d"]

    @classmethod
    def of(cls, population: "Gaussian | Components") -> "Components":
        """A Gaussian as the only one; components are what they are."""
        if isinstance(population, Components):
            return population
        return cls(np.ones(1), np.asarray(population.mean)[None], population.covariance()[None])

    def gaussian(self) -> Gaussian:
        """The Gaussian with the mean and covariance of the whole."""
        return Gaussian.of(*self.moments())

    def scaled(self, shift: float, scale: float) -> "Components":
        """The law of `shift + scale x`."""
        return Components(self.weights, shift + scale * self.means, scale * (scale * self.covariances))

    def __len__(self) -> int:
        return len(self.weights)

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n d"]:
        """Independent draws."""
        chosen = rng.choice(len(self), size=n, p=self.weights)
        factors = np.linalg.cholesky(self.covariances)[chosen]
        return self.means[chosen] + np.einsum("nij,nj->ni", factors, rng.standard_normal((n, self.means.shape[1])))

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
        """Mean and covariance of the whole."""
        return self.weights @ self.means, np.einsum("k,kij->ij", self.weights, self.covariances) + self.between()

    def between(self) -> Float[np.ndarray, "d d"]:
        """The part of the covariance that lies between the components: that of their means."""
        centred = self.means - self.weights @ self.means
        return (self.weights * centred.T) @ centred
