"""Closed-form EM: Gaussians, and mixtures of them, over all sources and views."""

from dichroic.closed.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.closed.mixture import MixtureConfig, MixtureFit, mixture_em
from dichroic.closed.population import Mixture, Population

__all__ = [
    "GaussianConfig",
    "GaussianFit",
    "Mixture",
    "MixtureConfig",
    "MixtureFit",
    "Population",
    "gaussian_em",
    "mixture_em",
]
