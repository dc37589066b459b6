"""From priors and observations to posterior draws: one file per method.

A *method* is its settings; `bind` chooses, factorises and trains what all draws of a view share; the *bound* draws.
"""

from dichroic.posterior.alpha_rgs import PUBLISHED_LEVELS, AlphaRGS
from dichroic.posterior.amortise import Amortised
from dichroic.posterior.amortised import AmortisedPosterior, Conditional
from dichroic.posterior.annealed import TARGETS, Annealed, Annealing, Sampled, Targeted
from dichroic.posterior.auto import Auto
from dichroic.posterior.candidates import CandidatePosterior, Candidates
from dichroic.posterior.closed_form import ClosedForm, stand_in_mean
from dichroic.posterior.covariance import COVARIANCES, Moments
from dichroic.posterior.drawn import Drawn, DrawnPosterior
from dichroic.posterior.draws import Draws
from dichroic.posterior.fast import Fast
from dichroic.posterior.fast_posterior import FastPosterior
from dichroic.posterior.gibbs import Gibbs, gibbs_rounds
from dichroic.posterior.handover import Handover
from dichroic.posterior.in_blocks import InBlocks, bind_blocks
from dichroic.posterior.instrument import bind_instrument, given_sources
from dichroic.posterior.method import (
    METHODS,
    AnyMethod,
    Bound,
    Method,
    Task,
    ViewPosterior,
    observation_keys,
    observation_uniforms,
    read_method,
    separation_key,
)
from dichroic.posterior.methods.basis import BASIS
from dichroic.posterior.methods.ddnm import DDNM
from dichroic.posterior.methods.ddrm import DDRM
from dichroic.posterior.methods.diffpir import DiffPIR
from dichroic.posterior.methods.dps import DPS
from dichroic.posterior.methods.lmmse import LMMSE
from dichroic.posterior.methods.matched_filter import MatchedFilter
from dichroic.posterior.methods.mcg import MCG
from dichroic.posterior.methods.mcgdiff import MCGDiff
from dichroic.posterior.methods.modified_basis import ModifiedBASIS
from dichroic.posterior.methods.msdm import MSDM
from dichroic.posterior.methods.msdm_dirac import DiracMSDM
from dichroic.posterior.methods.red_diff import REDDiff
from dichroic.posterior.methods.reverse_diffusion import ReverseDiffusion
from dichroic.posterior.methods.score_distillation import ScoreDistillation
from dichroic.posterior.methods.snips import SNIPS
from dichroic.posterior.methods.successive import SuccessiveCancellation
from dichroic.posterior.methods.tds import TDS
from dichroic.posterior.moments import MomentMatching
from dichroic.posterior.sampler import Build, Chain, Leg, Posterior, Sampler
from dichroic.posterior.targets.daps import DAPS
from dichroic.posterior.targets.dmps import DMPS
from dichroic.posterior.targets.jfps import JFPS
from dichroic.posterior.targets.opc import OPC
from dichroic.posterior.targets.pigdm import PiGDM
from dichroic.posterior.targets.projection import Projection
from dichroic.posterior.targets.repaint import RePaint
from dichroic.posterior.targets.sda import SDA
from dichroic.posterior.targets.split_gibbs import SplitGibbs
from dichroic.posterior.targets.tmpd import TMPD

# every method, by its kind in the settings
METHODS.update(
    auto=Auto,
    annealed=Annealed,
    closed_form=ClosedForm,
    candidates=Candidates,
    drawn=Drawn,
    amortised=Amortised,
    fast=Fast,
    gibbs=Gibbs,
    handover=Handover,
    dps=DPS,
    mcg=MCG,
    diffpir=DiffPIR,
    ddnm=DDNM,
    ddrm=DDRM,
    snips=SNIPS,
    tds=TDS,
    mcgdiff=MCGDiff,
    red_diff=REDDiff,
    alpha_rgs=AlphaRGS,
    matched_filter=MatchedFilter,
    successive_cancellation=SuccessiveCancellation,
    lmmse=LMMSE,
    score_distillation=ScoreDistillation,
    basis=BASIS,
    modified_basis=ModifiedBASIS,
    msdm=MSDM,
    msdm_dirac=DiracMSDM,
    reverse_diffusion=ReverseDiffusion,
)
# how the likelihood enters in annealing, by its name in the settings; the tests hold each against Gaussian answers
TARGETS.update(
    moments=MomentMatching,
    pigdm=PiGDM,
    tmpd=TMPD,
    opc=OPC,
    sda=SDA,
    dmps=DMPS,
    jfps=JFPS,
    projection=Projection,
    repaint=RePaint,
    split_gibbs=SplitGibbs,
    daps=DAPS,
)

__all__ = [
    "BASIS",
    "COVARIANCES",
    "DAPS",
    "DDNM",
    "DDRM",
    "DMPS",
    "DPS",
    "JFPS",
    "LMMSE",
    "MCG",
    "METHODS",
    "MSDM",
    "OPC",
    "PUBLISHED_LEVELS",
    "SDA",
    "SNIPS",
    "TARGETS",
    "TDS",
    "TMPD",
    "AlphaRGS",
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
    "DiffPIR",
    "DiracMSDM",
    "Drawn",
    "DrawnPosterior",
    "Draws",
    "Fast",
    "FastPosterior",
    "Gibbs",
    "Handover",
    "InBlocks",
    "Leg",
    "MCGDiff",
    "MatchedFilter",
    "Method",
    "ModifiedBASIS",
    "MomentMatching",
    "Moments",
    "PiGDM",
    "Posterior",
    "Projection",
    "REDDiff",
    "RePaint",
    "ReverseDiffusion",
    "Sampled",
    "Sampler",
    "ScoreDistillation",
    "SplitGibbs",
    "SuccessiveCancellation",
    "Targeted",
    "Task",
    "ViewPosterior",
    "bind_blocks",
    "bind_instrument",
    "gibbs_rounds",
    "given_sources",
    "observation_keys",
    "observation_uniforms",
    "read_method",
    "separation_key",
    "stand_in_mean",
]
