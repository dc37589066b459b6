"""Posterior moments of sources, which their populations are estimated from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dichroic.algebra import Gaussian

__all__ = ["Belief", "Statistics"]


@dataclass(frozen=True)
class Statistics:
    """Posterior moments of one source summed over `n` observations.

    `first` is the sum of means; `second`, of second moments (with covariances), or `draws` in its place; `derivatives`,
    what those were made from: `first` and `second` of `ComponentStatistics`.
    """

    n: int
    first: Float[np.ndarray, " d"]
    second: Float[np.ndarray, "d d"] | None = None
    draws: Float[np.ndarray, "n d"] | None = None
    derivatives: tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]] | None = None

    @staticmethod
    def pool(statistics: "list[Statistics]") -> "Statistics":
        """The same over several views."""
        n, first = sum(s.n for s in statistics), np.sum([s.first for s in statistics], axis=0)
        second = [s.second for s in statistics if s.second is not None]
        if len(second) == len(statistics):
            parts = [s.derivatives for s in statistics if s.derivatives is not None]
            g, G = (np.sum([part[order] for part in parts], axis=0) for order in (0, 1))
            whole = (g, G) if len(parts) == len(second) else None
            return Statistics(n, first, np.sum(second, axis=0), derivatives=whole)
        return Statistics(n, first, draws=np.concatenate([s.draws for s in statistics if s.draws is not None]))

    def population(self, rank: int | None, ties: float = 0.0) -> Gaussian:
        """The maximum of the expected log-likelihood, or with `ties` of the posterior under a conjugate prior.

        The prior is isotropic, and counts for as many observations per dimension (`Gaussian.tied`).
        """
        dimension = len(self.first)
        return self._likeliest(rank).tied(ties * dimension / (self.n + ties * dimension))

    def _likeliest(self, rank: int | None) -> Gaussian:
        if self.second is not None:
            mean = self.first / self.n
            return Gaussian.of(mean, self.second / self.n - np.outer(mean, mean), rank)
        assert self.draws is not None
        mean = self.draws.mean(0)
        _, singular, rows = np.linalg.svd(self.draws - mean, full_matrices=False)
        values = singular**2 / len(self.draws)
        r = min(rank or len(values), len(values) - 1)
        rest = values[r:].sum() / max(len(mean) - r, 1)
        return Gaussian(mean, rows[:r].T, np.maximum(values[:r], rest), float(rest))


@dataclass(frozen=True)
class Belief:
    """What a view says: statistics per source, its log-likelihood and the number of values that is a sum over."""

    statistics: dict[str, Statistics]
    log_likelihood: float
    count: float
