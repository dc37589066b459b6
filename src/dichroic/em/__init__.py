"""Expectation maximisation: the Gaussian stage in closed form, then laps of drawing and training."""

from dichroic.em.loop import run_stages, start_state
from dichroic.em.passes import PASSES, Diverged, Pass
from dichroic.em.plan import Stage, make_plan, split
from dichroic.em.state import EMState, Expectation, load_state, save_state

__all__ = [
    "PASSES",
    "Diverged",
    "EMState",
    "Expectation",
    "Pass",
    "Stage",
    "load_state",
    "make_plan",
    "run_stages",
    "save_state",
    "split",
    "start_state",
]
