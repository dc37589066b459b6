"""Closed-form EM over all sources and views: one Gaussian for every source, and several components."""

from dichroic.closed.components import ComponentsConfig, ComponentsFit, components_em
from dichroic.closed.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.closed.instrument import InstrumentFit, learn_instrument
from dichroic.closed.refits import gaussian_refits, scarce

__all__ = [
    "ComponentsConfig",
    "ComponentsFit",
    "GaussianConfig",
    "GaussianFit",
    "InstrumentFit",
    "components_em",
    "gaussian_em",
    "gaussian_refits",
    "learn_instrument",
    "scarce",
]
