"""The Gaussians that a source may be, and what closed-form EM asks of them.

A source without symmetries may be any Gaussian. One with symmetries has a mean and covariances that they leave as they
are, and so has each of its components. EM stays EM: among such laws, the M-step is that of sufficient statistics
averaged over the group.
"""

from abc import ABC, abstractmethod

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from dichroic.algebra import Components, Gaussian
from dichroic.closed.charts import Chart, CholeskyChart
from dichroic.closed.evidence import ComponentStatistics
from dichroic.closed.statistics import Statistics

__all__ = ["Family", "Invariant"]


class Family(ABC):
    """A set of Gaussians, closed under what EM and its ties do to them.

    `parameters` is the number of a covariance's free ones; `symmetric`, whether not every Gaussian belongs to it;
    `full_rank`, whether a covariance cannot be cut to leading directions.
    """

    parameters: float
    symmetric: bool = True
    full_rank: bool = False

    @abstractmethod
    def population(self, before: Gaussian, statistics: Statistics, rank: int | None, ties: float) -> Gaussian:
        """The M-step of a source of one Gaussian, as `Statistics.population`; `before` is what the E-step was given.
        Draws in place of moments are taken as they are.
        """

    @abstractmethod
    def maximised(self, before: Components, statistics: ComponentStatistics) -> Components:
        """The M-step of a source of components, untied."""

    @abstractmethod
    def nearest(self, x: Components) -> Components:
        """The members of the family next to some components."""

    @abstractmethod
    def at_least(self, S: Float[np.ndarray, "*k d d"], least: float) -> Float[np.ndarray, "*k d d"]:
        """Covariances with no variance below a number, in any direction."""

    @abstractmethod
    def tied_log_density(self, S: Float[np.ndarray, "d d"], T: Float[np.ndarray, "d d"], strength: float) -> float:
        r"""Log-density of the conjugate prior of a covariance that counts for :math:`\tau` observations, up to a
        constant: :math:`-\frac \tau 2 \big(\log\det S + \mathrm{tr}\, S^{-1} T\big)`.
        """

    @abstractmethod
    def principal(self, S: Float[np.ndarray, "K d d"]) -> Float[np.ndarray, "K d"]:
        """One standard deviation along the axis of most variance that means may move along."""

    @abstractmethod
    def chart(self, anchor: Components) -> Chart:
        """Coordinates of components about others."""


class Invariant(Family):
    """All Gaussians that permutations of their entries leave as they are; the identity alone allows any."""

    def __init__(self, group: Int[np.ndarray, "G d"]):
        self.group, d = group, group.shape[1]
        self.symmetric = len(group) > 1
        # Burnside: orbits of pairs of entries
        fixed = [((g == np.arange(d)).sum(), (g[g] == np.arange(d)).sum()) for g in group]
        self.parameters = float(np.mean([(a * a + b) / 2 for a, b in fixed]))

    def averaged(self, x: np.ndarray, axes: int) -> np.ndarray:
        """Means (one axis) or covariances (two) averaged over the group; any axes stand before."""
        if not self.symmetric:
            return x
        total = np.zeros(np.shape(x))
        for g in self.group:
            total += x[..., g] if axes == 1 else x[..., g[:, None], g]
        return total / len(self.group)

    def population(self, before: Gaussian, statistics: Statistics, rank: int | None, ties: float) -> Gaussian:
        if statistics.second is not None:
            first, second = self.averaged(statistics.first, 1), self.averaged(statistics.second, 2)
            statistics = Statistics(statistics.n, first, second)
        return statistics.population(rank, ties)

    def maximised(self, before: Components, statistics: ComponentStatistics) -> Components:
        n, S = np.maximum(statistics.count, 1e-9)[:, None, None], before.covariances
        delta = np.einsum("kij,kj->ki", S, self.averaged(statistics.first, 1)) / n[..., 0]
        S = S + S @ self.averaged(statistics.second, 2) @ S / n - delta[:, :, None] * delta[:, None, :]
        return Components(_weights(statistics), before.means + delta, S)

    def nearest(self, x: Components) -> Components:
        return Components(x.weights, self.averaged(x.means, 1), self.averaged(x.covariances, 2))

    def at_least(self, S: Float[np.ndarray, "*k d d"], least: float) -> Float[np.ndarray, "*k d d"]:
        values, basis = np.linalg.eigh((S + S.swapaxes(-1, -2)) / 2)
        return (basis * np.maximum(values, max(least, 0.0))[..., None, :]) @ basis.swapaxes(-1, -2)

    def tied_log_density(self, S: Float[np.ndarray, "d d"], T: Float[np.ndarray, "d d"], strength: float) -> float:
        try:
            L = scipy.linalg.cho_factor(S, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return -np.inf
        trace = np.trace(scipy.linalg.cho_solve(L, T, check_finite=False))
        return float(-strength * (np.log(np.diag(L[0])).sum() + 0.5 * trace))

    def principal(self, S: Float[np.ndarray, "K d d"]) -> Float[np.ndarray, "K d"]:
        if not self.symmetric:
            values, basis = np.linalg.eigh(S)
            return np.sqrt(values[:, -1:]) * basis[:, :, -1]
        orbits = np.unique(self.group.min(0), return_inverse=True)[1]
        B = np.eye(orbits.max() + 1)[orbits]
        B /= np.sqrt(B.sum(0))  # orthonormal: what does not change under the group
        values, basis = np.linalg.eigh(B.T @ S @ B)
        return np.sqrt(np.maximum(values[:, -1:], 0)) * (basis[:, :, -1] @ B.T)

    def chart(self, anchor: Components) -> Chart:
        return CholeskyChart(anchor)


def _weights(statistics: ComponentStatistics) -> Float[np.ndarray, " K"]:
    weights = np.maximum(statistics.count, 1e-6)
    return weights / weights.sum()
