r"""The Wiener filter of Gaussian sources that were learned from the mixtures by EM.

With the populations :math:`x_s \sim \mathcal N(\mu_s, C_s)` of `dichroic.em.gaussian_em`, the posterior of the stacked
sources is exact and linear in the data,

.. math:: \mathrm E[u \mid y] = \mu + C A^\top (A C A^\top + \Sigma)^{-1} (y - A \mu) .

It is the best that can be done with means and covariances, and what every learned prior has to beat.
"""

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.baselines.base import Baseline, BaselineConfig
from dichroic.baselines.batches import over_observations
from dichroic.baselines.factors import FactorModel
from dichroic.closed import GaussianConfig, GaussianFit, gaussian_em
from dichroic.closed.routes import bind_dense
from dichroic.diffusion import EXACT_SIZE, Denoiser, Prior, Scaling, Schedule, denoisers_of
from dichroic.posterior import MomentMatching
from dichroic.problem import Problem, View
from dichroic.white import WhitenedObservation

__all__ = ["Wiener", "WienerConfig"]

# standard deviations of a source: x_t at this level says nothing about x_0, so that the posterior given both is the
# posterior given the data alone, to a relative 1e-8
_FAR = 1e4
RESIDUAL = 1e-3  # of a linear system, relative, above which it counts as not solved
BUDGET = 1e13  # floating-point operations of one draw of every observation up to which systems are factorised


class WienerConfig(BaselineConfig):
    """Settings of `Wiener`: those of the Gaussian EM.

    EM is slow where a source has directions of little variance. As a first stage it may stop early; a baseline should
    not, so it goes on for longer here.
    """

    gaussian: GaussianConfig = GaussianConfig(laps=1024, tolerance=1e-7)


class Wiener(Baseline):
    """Gaussian EM and the exact posterior of Gaussian sources; for any problem."""

    name = "wiener"
    title = "the Wiener filter"
    Config = WienerConfig

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        return None

    @classmethod
    def _fit(cls, problem: Problem, config: WienerConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        fit = gaussian_em(problem, config.gaussian, seed=seed)
        arrays = {
            f"{s}/{part}": np.asarray(getattr(population, part), float)
            for s, population in fit.populations.items()
            for part in ("mean", "basis", "values", "rest")
        }
        return arrays, {"log_likelihood": fit.log_likelihood, "converged": fit.converged}

    def modelled(self) -> list[str]:
        return list(self.shapes)

    @cached_property
    def fitted(self) -> GaussianFit:
        """The populations of all sources."""
        populations = {
            s: Gaussian(
                self.arrays[f"{s}/mean"],
                self.arrays[f"{s}/basis"],
                self.arrays[f"{s}/values"],
                float(self.arrays[f"{s}/rest"]),
            )
            for s in self.shapes
        }
        return GaussianFit(populations, list(self.record["log_likelihood"]), bool(self.record["converged"]))

    def priors(self, schedule: Schedule | None = None) -> dict[str, Prior]:
        """The populations as priors, for any posterior method of the library."""
        return {s: self.fitted.prior(s, shape, schedule or Schedule()) for s, shape in self.shapes.items()}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        observed = problem.views[view]
        if all(int(np.prod(self.shapes[s])) <= EXACT_SIZE for s in observed.mixing):
            with jax.enable_x64(True):
                return over_observations(self._factors(list(observed.mixing)), observed, key=key, wide=True)
        dense = bind_dense(observed, self.shapes, BUDGET)
        if dense is None:
            return self._by_iteration(observed, view, key)
        known = {s: Components.of(p) for s, p in self.fitted.populations.items()}
        if key is None:
            return dense.mean(known)
        return dense.draw(known, jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(observed))))

    def _by_iteration(self, observed: View, view: str, key: Any) -> Mapping[str, Any]:
        """Where dense matrices are out of the question: conjugate gradients, in single precision."""
        priors = self.priors()
        scalings = {s: priors[s].scaling for s in observed.mixing}
        linear = _Linear(denoisers_of({s: priors[s] for s in observed.mixing}, "wiener"), scalings)
        found, residual = over_observations(linear, observed, key=key)
        if unsolved := int((residual > RESIDUAL).sum()):
            warnings.warn(
                f"view '{view}': the linear systems of {unsolved} of {len(observed)} observations were not solved to a "
                f"relative residual of {RESIDUAL:g}; their estimates are not the exact posterior's",
                stacklevel=4,
            )
        return found

    def _factors(self, sources: list[str]) -> FactorModel:
        """The populations as factor models with as many latents as there are dimensions."""
        means, loadings = {}, {}
        for s in sources:
            p = self.fitted.populations[s]
            root = (p.basis * (np.sqrt(p.values) - np.sqrt(p.rest))) @ p.basis.T + np.sqrt(p.rest) * np.eye(len(p.mean))
            means[s] = jnp.asarray(p.mean.reshape(self.shapes[s]))
            loadings[s] = jnp.asarray(root.reshape(-1, *self.shapes[s]))
        return FactorModel(means, loadings)

    def _sample(self, source: str, n: int, key: Any) -> Any:
        p = self.fitted.populations[source]
        white = np.asarray(jax.random.normal(key, (n, p.mean.size)), float)
        inside = white @ p.basis
        x = p.mean + np.sqrt(p.rest) * (white - inside @ p.basis.T) + (inside * np.sqrt(p.values)) @ p.basis.T
        return x.reshape(n, *self.shapes[source])


class _Linear(eqx.Module):
    denoisers: dict[str, Denoiser]
    scalings: dict[str, Scaling]

    def __call__(self, observation, key):
        shapes = {s: denoiser.shape for s, denoiser in self.denoisers.items()}
        w = WhitenedObservation.of(observation, self.scalings, shapes)
        target = MomentMatching().build({s: self.denoisers[s] for s in w.shapes}, w, alike=False)
        x_t = {s: jnp.zeros(shape, w.dtype) for s, shape in shapes.items()}
        sigma = jnp.asarray(_FAR, w.dtype)
        z, info = target.mean(x_t, sigma) if key is None else target.draw(x_t, sigma, key)
        return {s: self.scalings[s].to_user(x) for s, x in z.items()}, info.residual
