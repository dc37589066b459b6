"""Expectation maximisation: the Gaussian stage in closed form, then laps of drawing and training."""

from dichroic.em.amortise import amortise, conditional_of
from dichroic.em.config import PRESETS, FitConfig, SamplingConfig, preset
from dichroic.em.estep import Draws, draw_posterior
from dichroic.em.loop import Diverged, Expectation, run_stages, start_state
from dichroic.em.plan import Stage, make_plan, split
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
    "SamplingConfig",
    "Stage",
    "amortise",
    "conditional_of",
    "draw_posterior",
    "load_state",
    "make_plan",
    "preset",
    "run_stages",
    "save_state",
    "split",
    "start_state",
]
