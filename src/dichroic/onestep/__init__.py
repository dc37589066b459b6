"""One-step generators: draws of a source, or of a source given a noisy copy, in one evaluation."""

from dichroic.diffusion import PRIORS
from dichroic.onestep.config import OneStepConfig
from dichroic.onestep.consistency import Consistency, train_consistency
from dichroic.onestep.critic import MixtureCritic, TaughtCritic, together
from dichroic.onestep.discriminator import Discriminator
from dichroic.onestep.exact import ExactDraws, stochastic_denoiser
from dichroic.onestep.generator import Generator, Noisy
from dichroic.onestep.given import ensemble_mean, importance_mean, likelihood_score
from dichroic.onestep.objective import GeneratorObjective, karras
from dichroic.onestep.prior import GeneratorPrior
from dichroic.onestep.ratio import generator_gan, lecam, logistic
from dichroic.onestep.skew import Skews, logit, share, skew_divergence, skew_weight
from dichroic.onestep.training import GeneratorTraining, distill, gaussian_of, train_adversary, train_one_step
from dichroic.onestep.weighting import adaptive, toward

PRIORS[GeneratorPrior.kind] = GeneratorPrior

__all__ = [
    "Consistency",
    "Discriminator",
    "ExactDraws",
    "Generator",
    "GeneratorObjective",
    "GeneratorPrior",
    "GeneratorTraining",
    "MixtureCritic",
    "Noisy",
    "OneStepConfig",
    "Skews",
    "TaughtCritic",
    "adaptive",
    "distill",
    "ensemble_mean",
    "gaussian_of",
    "generator_gan",
    "importance_mean",
    "karras",
    "lecam",
    "likelihood_score",
    "logistic",
    "logit",
    "share",
    "skew_divergence",
    "skew_weight",
    "stochastic_denoiser",
    "together",
    "toward",
    "train_adversary",
    "train_consistency",
    "train_one_step",
]
