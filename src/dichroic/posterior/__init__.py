"""From priors and observations to posterior draws: one file per method.

A *method* is its settings; `bind` chooses, factorises and trains what all draws of a view share; the *bound* draws.
"""

from dichroic.posterior.amortise import Amortised
from dichroic.posterior.amortised import AmortisedPosterior, Conditional
from dichroic.posterior.annealed import TARGETS, Annealed, Annealing, Sampled
from dichroic.posterior.auto import Auto
from dichroic.posterior.candidates import CandidatePosterior, Candidates
from dichroic.posterior.closed_form import ClosedForm, stand_in_mean
from dichroic.posterior.covariance import COVARIANCES
from dichroic.posterior.draws import Draws
from dichroic.posterior.gibbs import Gibbs, gibbs_rounds
from dichroic.posterior.handover import Handover
from dichroic.posterior.method import (
    METHODS,
    AnyMethod,
    Bound,
    Method,
    Task,
    observation_keys,
    observation_uniforms,
    read_method,
)
from dichroic.posterior.moments import MomentMatching, Moments
from dichroic.posterior.sampler import Build, Chain, Leg, Posterior, Sampler

# every method, by its kind in the settings
METHODS.update(
    auto=Auto,
    annealed=Annealed,
    closed_form=ClosedForm,
    candidates=Candidates,
    amortised=Amortised,
    gibbs=Gibbs,
    handover=Handover,
)
# how the likelihood enters in annealing, by its name in the settings; the tests hold each against Gaussian answers
TARGETS.update(moments=MomentMatching)

__all__ = [
    "COVARIANCES",
    "METHODS",
    "TARGETS",
    "Amortised",
    "AmortisedPosterior",
    "Annealed",
    "Annealing",
    "AnyMethod",
    "Auto",
    "Bound",
    "Build",
    "CandidatePosterior",
    "Candidates",
    "Chain",
    "ClosedForm",
    "Conditional",
    "Draws",
    "Gibbs",
    "Handover",
    "Leg",
    "Method",
    "MomentMatching",
    "Moments",
    "Posterior",
    "Sampled",
    "Sampler",
    "Task",
    "gibbs_rounds",
    "observation_keys",
    "observation_uniforms",
    "read_method",
    "stand_in_mean",
]
