"""Expectation maximisation: the Gaussian stage in closed form, then laps of drawing and training."""

from dichroic.em.config import PRESETS, FitConfig, preset
from dichroic.em.loop import run_stages, start_state
from dichroic.em.passes import PASSES, Diverged, Pass
from dichroic.em.plan import Stage, make_plan, split
from dichroic.em.published import PUBLISHED
from dichroic.em.state import EMState, Expectation, load_state, save_state

__all__ = [
    "PASSES",
    "PRESETS",
    "PUBLISHED",
    "Diverged",
    "EMState",
    "Expectation",
    "FitConfig",
    "Pass",
    "Stage",
    "load_state",
    "make_plan",
    "preset",
    "run_stages",
    "save_state",
    "split",
    "start_state",
]
