"""Everything about one prior: denoisers, networks, training and sampling. Knows nothing of observations."""

from dichroic.diffusion.denoiser import (
    Denoiser,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    LowRankGaussianDenoiser,
)
from dichroic.diffusion.log_density import LogDensity, Ranking, log_density, rank_candidates
from dichroic.diffusion.mixture import MIXTURE_LEVEL, WithMixture, known_mixture, mixture_cost, mixture_of, own_share
from dichroic.diffusion.moments import exact_moments
from dichroic.diffusion.network import NetworkDenoiser
from dichroic.diffusion.networks import MLP, NETWORKS, MLPConfig, NetworkConfig, UNet, UNetConfig
from dichroic.diffusion.objective import OBJECTIVES
from dichroic.diffusion.prior import PRIOR_STEPS, Prior, Scaling
from dichroic.diffusion.sampler import Cost, Step, Target, noise_like, pure_noise, run_sampler
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.spread import Spread, at_level, measure_spread
from dichroic.diffusion.steps import DDIM, STEPS, Ancestral, Decoupled, Heun, PredictorCorrector
from dichroic.diffusion.target import EXACT_SIZE, PriorTarget
from dichroic.diffusion.train import TrainingConfig, train

__all__ = [
    "DDIM",
    "EXACT_SIZE",
    "MIXTURE_LEVEL",
    "MLP",
    "NETWORKS",
    "OBJECTIVES",
    "PRIOR_STEPS",
    "STEPS",
    "Ancestral",
    "Cost",
    "Decoupled",
    "Denoiser",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "Heun",
    "LogDensity",
    "LowRankGaussianDenoiser",
    "MLPConfig",
    "NetworkConfig",
    "NetworkDenoiser",
    "PredictorCorrector",
    "Prior",
    "PriorTarget",
    "Ranking",
    "Scaling",
    "Schedule",
    "Spread",
    "Step",
    "Target",
    "TrainingConfig",
    "UNet",
    "UNetConfig",
    "WithMixture",
    "at_level",
    "exact_moments",
    "known_mixture",
    "log_density",
    "measure_spread",
    "mixture_cost",
    "mixture_of",
    "noise_like",
    "own_share",
    "pure_noise",
    "rank_candidates",
    "run_sampler",
    "train",
]
