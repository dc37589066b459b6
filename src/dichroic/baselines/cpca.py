r"""Contrastive PCA (Abid, Zhang, Bagaria and Zou, 2018, Nature Communications 9, 2134).

With both views read through the target's operator, and undone,

.. math:: C = \mathrm{Cov}[\tilde x] - \alpha\, \mathrm{Cov}[\tilde b], \qquad
    \hat x = \mu_t + U U^\top (\tilde x - \bar x), \qquad \mu_t = \bar x - \bar b ,

with `U` the leading eigenvectors of `C`. There is no likelihood: operators must be invertible, the noise is ignored,
and the estimate has no uncertainty.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy.sparse.linalg import LinearOperator, eigsh

from dichroic.baselines.base import BaselineConfig
from dichroic.baselines.kinds import Contrastive
from dichroic.baselines.least_squares import least_squares, require_invertible
from dichroic.problem import Problem

__all__ = ["ContrastivePCA", "ContrastivePCAConfig"]

DENSE = 2048  # entries of a source up to which covariances are matrices


class ContrastivePCAConfig(BaselineConfig):
    """Settings of `ContrastivePCA`: `components` kept, and `alpha`, the weight of the background."""

    components: PositiveInt = 5
    alpha: NonNegativeFloat = 1.0


class ContrastivePCA(Contrastive):
    """Contrastive PCA: the target of every contrast, projected on the directions that the background lacks."""

    name = "cpca"
    title = "contrastive PCA"
    Config = ContrastivePCAConfig
    has_posterior = False

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        for contrast in cls.contrasts(problem):
            shape = problem.sources[contrast.target].real_shape
            for name, view in zip(
                (contrast.mixture, contrast.background), contrast.through_the_target(problem), strict=True
            ):
                require_invertible(view, name, contrast.target, shape, cls.title)

    @classmethod
    def _fit(
        cls, problem: Problem, config: ContrastivePCAConfig, seed: int
    ) -> tuple[Mapping[str, Any], dict[str, Any]]:
        arrays, record = {}, []
        for contrast in cls.contrasts(problem):
            t = contrast.target
            shape = problem.sources[t].real_shape
            x, b = (
                least_squares(view, t, shape).reshape(len(view), -1).astype(float)
                for view in contrast.through_the_target(problem)
            )
            values, U = _leading(x - x.mean(0), b - b.mean(0), config.alpha, min(config.components, x.shape[1]), seed)
            arrays |= {
                f"{t}/mixture_mean": x.mean(0).reshape(shape),
                f"{t}/background_mean": b.mean(0).reshape(shape),
                f"{t}/components": U.T.reshape(-1, *shape),
            }
            record.append({**contrast.describe(problem), "eigenvalues": values.tolist()})
        return arrays, {"contrasts": record}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        found = {}
        for t in self.estimates(problem, view):
            mean, background = self.arrays[f"{t}/mixture_mean"], self.arrays[f"{t}/background_mean"]
            U = self.arrays[f"{t}/components"].reshape(-1, mean.size)
            x = least_squares(problem.views[view], t, mean.shape).reshape(-1, mean.size)
            inside = (x - mean.ravel()) @ U.T @ U
            found[t] = (mean - background) + inside.reshape(-1, *mean.shape)
        return found


def _leading(x: np.ndarray, b: np.ndarray, alpha: float, q: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The `q` leading eigenpairs of the difference of covariances, the largest first; data is centred."""
    d = x.shape[1]
    if d <= DENSE or q >= d:
        values, U = np.linalg.eigh(x.T @ x / len(x) - alpha * b.T @ b / len(b))
    else:

        def product(v: np.ndarray) -> np.ndarray:
            return x.T @ (x @ v) / len(x) - alpha * b.T @ (b @ v) / len(b)

        start = np.random.default_rng(seed).normal(size=d)
        values, U = eigsh(LinearOperator((d, d), matvec=product), k=q, which="LA", v0=start)  # pyright: ignore
    order = np.argsort(values)[::-1][:q]
    return values[order], U[:, order]
