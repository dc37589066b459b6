r"""Coordinates of components about others, in which any point is one and no unit is left.

With the Cholesky factor :math:`L_0` of the covariance of a component where the steps began, and
:math:`S = L_0 C C^\top L_0^\top`, they are :math:`\log w`, :math:`L_0^{-1} (\mu - \mu_0)`, and `C` with the logarithm
of its diagonal. Their norm is that of the Fisher information of the complete data.
"""

from abc import ABC, abstractmethod

import numpy as np
import scipy.linalg
from jaxtyping import Float

from dichroic.algebra import Components

__all__ = ["Chart", "CholeskyChart"]


class Chart(ABC):
    """Coordinates of one source's components about an anchor."""

    def __init__(self, anchor: Components):
        self.anchor, self.root = anchor, np.sqrt(anchor.weights)

    def vector(self, x: Components) -> Float[np.ndarray, " p"]:
        """Coordinates of components."""
        each = [root * self.of_one(k, x.means[k], x.covariances[k]) for k, root in enumerate(self.root)]
        return np.concatenate([self.root * np.log(x.weights), *each])

    def point(self, vector: Float[np.ndarray, " p"]) -> Components:
        """The components with these coordinates."""
        log_w = vector[: len(self.root)] / self.root
        weights = np.exp(log_w - log_w.max())
        each = np.split(vector[len(self.root) :], len(self.root))
        found = [self.one_of(k, part / self.root[k]) for k, part in enumerate(each)]
        return Components(weights / weights.sum(), *(np.stack(part) for part in zip(*found, strict=True)))

    @abstractmethod
    def of_one(self, k: int, mean: Float[np.ndarray, " d"], S: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " q"]:
        """Coordinates of one component.

        **Raises:** `LinAlgError` for a covariance without full rank.
        """

    @abstractmethod
    def one_of(self, k: int, x: Float[np.ndarray, " q"]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the component with these coordinates."""


class CholeskyChart(Chart):
    """That of any components."""

    def __init__(self, anchor: Components):
        super().__init__(anchor)
        self.factors = np.linalg.cholesky(anchor.covariances)

    def of_one(self, k: int, mean: Float[np.ndarray, " d"], S: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " q"]:
        L_0, L = self.factors[k], np.linalg.cholesky(S)
        C = scipy.linalg.solve_triangular(L_0, np.tril(L), lower=True, check_finite=False)
        C[np.diag_indices(len(C))] = np.sqrt(2) * np.log(np.diag(C))
        away = scipy.linalg.solve_triangular(L_0, mean - self.anchor.means[k], lower=True, check_finite=False)
        return np.concatenate([away, np.tril(C).ravel()])

    def one_of(self, k: int, x: Float[np.ndarray, " q"]) -> tuple[np.ndarray, np.ndarray]:
        L_0, d = self.factors[k], len(self.factors[k])
        C = x[d:].reshape(d, d).copy()
        C[np.diag_indices(d)] = np.exp(np.diag(C) / np.sqrt(2))
        L = L_0 @ C
        return self.anchor.means[k] + L_0 @ x[:d], L @ L.T
