"""Expectation maximisation: the Gaussian stage in closed form, then laps of drawing and training."""

from dichroic.em.amortise import amortise, conditional_of
from dichroic.em.closed_form import as_mixture
from dichroic.em.config import PRESETS, FitConfig, SamplingConfig, preset
from dichroic.em.estep import Draws, draw_posterior
from dichroic.em.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.em.loop import Diverged, Expectation, run_stages, start_state
from dichroic.em.mixture import MixtureConfig, MixtureFit, mixture_em
from dichroic.em.plan import Stage, make_plan
from dichroic.em.population import Mixture, Population
from dichroic.em.published import PUBLISHED
from dichroic.em.state import EMState, load_state, save_state

__all__ = [
    "PRESETS",
    "PUBLISHED",
    "Diverged",
    "Draws",
    "EMState",
    "Expectation",
    "FitConfig",
    "GaussianConfig",
    "GaussianFit",
    "Mixture",
    "MixtureConfig",
    "MixtureFit",
    "Population",
    "SamplingConfig",
    "Stage",
    "amortise",
    "as_mixture",
    "conditional_of",
    "draw_posterior",
    "gaussian_em",
    "load_state",
    "make_plan",
    "mixture_em",
    "preset",
    "run_stages",
    "save_state",
    "start_state",
]
