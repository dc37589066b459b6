"""Exact posterior draws where every prior is a Gaussian or a mixture of them: no sampling steps, no network."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Key

from dichroic.diffusion import Denoiser, GaussianDenoiser, GaussianMixtureDenoiser, Prior, Scaling
from dichroic.em.mixture_views import MixtureView, bind_mixture_view
from dichroic.em.population import Mixture
from dichroic.problem import View

__all__ = ["as_mixture", "closed_form_draws", "has_closed_form", "mixture_prior"]

_MOST = 1e13  # floating-point operations for one draw of every observation, above which sampling is the better choice


def as_mixture(prior: Prior) -> Mixture | None:
    """The population of a closed-form prior in the user's units, None for a network."""
    denoiser, scaling = prior.denoiser, prior.scaling
    if isinstance(denoiser, GaussianDenoiser):
        means = np.asarray(denoiser.mean, float).reshape(1, -1)
        return Mixture(np.ones(1), scaling.to_user(means), scaling.scale**2 * denoiser.covariance()[None])
    if isinstance(denoiser, GaussianMixtureDenoiser):
        weights = np.exp(np.asarray(denoiser.log_weights, float))
        bases, values = np.asarray(denoiser.bases, float), np.asarray(denoiser.values, float)
        means = np.asarray(denoiser.means, float).reshape(len(weights), -1)
        covariances = (bases * values[:, None]) @ bases.swapaxes(1, 2)
        return Mixture(weights / weights.sum(), scaling.to_user(means), scaling.scale**2 * covariances)
    return None


def mixture_prior(mixture: Mixture, like: Prior) -> Prior:
    """A mixture as a prior with the shape, schedule and scaling of another one."""
    scaling: Scaling = like.scaling
    denoiser: Denoiser = GaussianMixtureDenoiser.from_covariances(
        mixture.weights,
        scaling.to_scaled(mixture.means).reshape(-1, *like.shape),
        mixture.covariances / scaling.scale**2,
    ).single_precision()
    return Prior(denoiser, like.schedule, scaling, {"stage": "mixture", "components": len(mixture)})


def closed_form_draws(
    view: View, priors: Mapping[str, Prior], keys: Key[Array, " n"]
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, " n"]] | None:
    """One exact draw of every observation, and its chi-square per observed value; None where there is no such route."""
    found = _route(view, priors)
    if found is None:
        return None
    bound, mixtures = found
    samples = bound.draw(mixtures, keys)
    return {s: x.astype(np.float32) for s, x in samples.items()}, bound.chi_square(samples)


def has_closed_form(view: View, priors: Mapping[str, Prior]) -> bool:
    """Whether draws of a view are exact."""
    return _route(view, priors) is not None


def _route(view: View, priors: Mapping[str, Prior]) -> tuple[MixtureView, dict[str, Mixture]] | None:
    known = {s: as_mixture(priors[s]) for s in view.mixing}
    mixtures = {s: mixture for s, mixture in known.items() if mixture is not None}
    if len(mixtures) < len(known):
        return None
    bound = bind_mixture_view(view, {s: priors[s].shape for s in view.mixing})
    if bound is None or bound.cost(mixtures) > _MOST:
        return None
    return bound, mixtures
