r"""The linear contrastive latent variable model (Severson, Ghosh and Ng, AAAI 2019; DDPRISM, eqs. 23 to 26).

Every source is affine in latents of its own, :math:`x_s = m_s + W_s z_s`, :math:`z_s \sim \mathcal N(0, I)`, and enters
every view through the operator it has there,

.. math:: y_{vi} = \sum_s A_{vis} (m_s + W_s z_{is}) + n_{vi} .

With a background and a target source this is the published model, and more of them need nothing new. The published
program maximises a bound with one latent draw per observation; as the posterior of the latents is exact, that bound is
the log-likelihood plus Monte-Carlo noise. Here the log-likelihood itself is climbed, over all observations of all
views, each counting once.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import PositiveFloat, PositiveInt

from dichroic.baselines.base import Baseline
from dichroic.baselines.batches import over_observations
from dichroic.baselines.climb import climb
from dichroic.baselines.contrast import required_contrasts
from dichroic.baselines.factors import FactorModel, ScaledLikelihood
from dichroic.baselines.latents import LatentConfig
from dichroic.baselines.least_squares import principal_start
from dichroic.problem import Problem

__all__ = ["CLVMLinear", "CLVMLinearConfig"]


class CLVMLinearConfig(LatentConfig):
    """Settings of `CLVMLinear`: `components`, latents of every source or `{source: latents}`; `iterations` and
    `tolerance` of the climb.
    """

    iterations: PositiveInt = 300
    tolerance: PositiveFloat = 1e-9


class CLVMLinear(Baseline):
    """Linear contrastive latent variables: joint posterior of all sources in all views."""

    name = "clvm-linear"
    title = "CLVM-Linear"
    Config = CLVMLinearConfig

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        required_contrasts(problem, cls.title)

    @classmethod
    def _fit(cls, problem: Problem, config: CLVMLinearConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        means, loadings, scales = _start(problem, config, seed)
        total = sum(len(view) for view in problem.views.values())
        terms = [(view, len(view) / total) for view in problem.views.values()]
        start = {"means": means, "loadings": loadings}
        found = climb(ScaledLikelihood(scales), start, terms, iterations=config.iterations, tolerance=config.tolerance)
        arrays = {}
        for s, scale in scales.items():
            arrays[f"{s}/mean"] = scale * found.parameters["means"][s]
            arrays[f"{s}/loadings"] = scale * found.parameters["loadings"][s]
        return arrays, {"log_likelihood": found.values, "converged": found.converged}

    def modelled(self) -> list[str]:
        return list(self.shapes)

    @property
    def model(self) -> FactorModel:
        """Means and loadings, in the user's units."""
        parts = ({s: jnp.asarray(self.arrays[f"{s}/{part}"]) for s in self.shapes} for part in ("mean", "loadings"))
        return FactorModel(*parts)

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        return over_observations(self.model, problem.views[view], key=key)

    def _sample(self, source: str, n: int, key: Any) -> Any:
        W = self.arrays[f"{source}/loadings"]
        z = np.asarray(jax.random.normal(key, (n, len(W))))
        return self.arrays[f"{source}/mean"] + np.tensordot(z, W, 1)


def _start(problem: Problem, config: CLVMLinearConfig, seed: int) -> tuple[dict, dict, dict[str, float]]:
    """Principal components of least-squares estimates, in the view that shows a source with the fewest others."""
    rng = np.random.default_rng(seed)
    smallest = {s: min((problem.views[v] for v in problem.views_of(s)), key=_company) for s in problem.sources}
    means, loadings, scales = {}, {}, {}
    for s in sorted(problem.sources, key=lambda s: _company(smallest[s])):
        known = {r: scales[r] * m for r, m in means.items()}
        mean, W, scale = principal_start(problem, smallest[s], s, config.components_of(s), known)
        # directions of no variance would stay where they are
        W = W / scale + 1e-3 * rng.normal(size=W.shape)
        means[s], loadings[s], scales[s] = mean / scale, W, scale
    return means, loadings, scales


def _company(view: Any) -> int:
    return len(view.mixing)
