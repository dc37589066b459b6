"""Gaussian populations and mixtures of them, and the statistics they are estimated from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Belief", "Mixture", "Population", "Statistics"]


@dataclass(frozen=True)
class Population:
    """A Gaussian in its eigenbasis: covariance `basis diag(values) basisᵀ` and `rest` along everything else."""

    mean: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "d r"]
    values: Float[np.ndarray, " r"]
    rest: float

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray, rank: int | None = None) -> "Population":
        """From a covariance, in full or reduced to its leading directions (probabilistic PCA)."""
        values, basis = np.linalg.eigh(covariance)
        values, basis = np.maximum(values[::-1], 0), basis[:, ::-1]
        r = len(mean) if rank is None else min(rank, len(mean))
        return cls(mean, basis[:, :r], values[:r], float(values[r:].mean()) if r < len(mean) else 0.0)

    @property
    def total_variance(self) -> float:
        """Trace of the covariance."""
        return float(self.values.sum() + self.rest * (len(self.mean) - len(self.values)))

    def tied(self, share: float) -> "Population":
        r"""With a share :math:`\rho` of its variance spread evenly: :math:`(1 - \rho) S + \rho \, \mathrm{tr}(S) / d \;
        I`.
        """
        level = share * self.total_variance / len(self.mean)
        rest = (1 - share) * self.rest + level if len(self.values) < len(self.mean) else 0.0
        return Population(self.mean, self.basis, (1 - share) * self.values + level, rest)

    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The covariance as a matrix."""
        return (self.basis * (self.values - self.rest)) @ self.basis.T + self.rest * np.eye(len(self.mean))


@dataclass(frozen=True)
class Mixture:
    """A mixture of `K` Gaussians over a source of `d` numbers, in the user's units; the weights sum to one."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]
    covariances: Float[np.ndarray, "K d d"]

    @classmethod
    def of(cls, population: Population) -> "Mixture":
        """A Gaussian as a mixture of one."""
        return cls(np.ones(1), np.asarray(population.mean)[None], population.covariance()[None])

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


@dataclass(frozen=True)
class Statistics:
    """Posterior moments of one source summed over `n` observations.

    `first` is the sum of means; `second`, of second moments (with covariances), or `draws` in its place.
    """

    n: int
    first: Float[np.ndarray, " d"]
    second: Float[np.ndarray, "d d"] | None = None
    draws: Float[np.ndarray, "n d"] | None = None

    @staticmethod
    def pool(statistics: "list[Statistics]") -> "Statistics":
        """The same over several views."""
        n, first = sum(s.n for s in statistics), np.sum([s.first for s in statistics], axis=0)
        second = [s.second for s in statistics if s.second is not None]
        if len(second) == len(statistics):
            return Statistics(n, first, np.sum(second, axis=0))
        return Statistics(n, first, draws=np.concatenate([s.draws for s in statistics if s.draws is not None]))

    def population(self, rank: int | None, ties: float = 0.0) -> Population:
        """The maximum of the expected log-likelihood, or with `ties` of the posterior under a conjugate prior.

        The prior is isotropic, and counts for as many observations per dimension (`Population.tied`).
        """
        dimension = len(self.first)
        return self._likeliest(rank).tied(ties * dimension / (self.n + ties * dimension))

    def _likeliest(self, rank: int | None) -> Population:
        if self.second is not None:
            mean = self.first / self.n
            return Population.of(mean, self.second / self.n - np.outer(mean, mean), rank)
        assert self.draws is not None
        mean = self.draws.mean(0)
        _, singular, rows = np.linalg.svd(self.draws - mean, full_matrices=False)
        values = singular**2 / len(self.draws)
        r = min(rank or len(values), len(values) - 1)
        rest = values[r:].sum() / max(len(mean) - r, 1)
        return Population(mean, rows[:r].T, np.maximum(values[:r], rest), float(rest))


@dataclass(frozen=True)
class Belief:
    """What a view says: statistics per source, its log-likelihood and the number of values that is a sum over."""

    statistics: dict[str, Statistics]
    log_likelihood: float
    count: float
