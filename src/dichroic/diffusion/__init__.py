"""Everything about one prior: denoisers, networks, training and sampling. Knows nothing of observations."""

from dichroic.diffusion.alphabet import Alphabet
from dichroic.diffusion.components import (
    COMPONENTS_LEVEL,
    components_cost,
    components_of,
    own_share,
)
from dichroic.diffusion.denoiser import (
    EXACT_SIZE,
    ComponentsDenoiser,
    Denoiser,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    exact_moments,
    trainable_in,
)
from dichroic.diffusion.denoiser_prior import DenoiserPrior
from dichroic.diffusion.described import components_of_table, gaussian_of_table
from dichroic.diffusion.empirical import Empirical, EmpiricalDenoiser
from dichroic.diffusion.levels import LiftedDenoising, ResidualDenoising
from dichroic.diffusion.log_density import LogDensity, Ranking, log_density, rank_candidates
from dichroic.diffusion.network import NetworkDenoiser
from dichroic.diffusion.networks import (
    MLP,
    NETWORKS,
    AnyNetwork,
    Causal,
    CausalConfig,
    Conv,
    ConvConfig,
    DiffWave,
    DiffWaveConfig,
    MLPConfig,
    NetworkConfig,
    UNet,
    UNetConfig,
)
from dichroic.diffusion.objective import OBJECTIVES, AnyObjective, Batch, Denoising, Objective
from dichroic.diffusion.ofdm import OFDM, WIFI
from dichroic.diffusion.prior import DESCRIBED, PRIOR_STEPS, PRIORS, Prior, Scaling, denoisers_of, describe_prior
from dichroic.diffusion.pulse import Pulse, pulse_matrix, root_raised_cosine
from dichroic.diffusion.sampler import (
    Cost,
    MomentTarget,
    PriorTarget,
    Step,
    Target,
    noise_like,
    pure_noise,
    run_sampler,
)
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.spread import Spread, at_level, measure_spread, principal_directions
from dichroic.diffusion.steps import DDIM, STEPS, Ancestral, Decoupled, Heun, PredictorCorrector, Resampled
from dichroic.diffusion.symbols import CONSTELLATIONS, Modulator, Symbols, SymbolsDenoiser
from dichroic.diffusion.train import TrainingConfig, train

PRIORS |= {cls.kind: cls for cls in (DenoiserPrior, Empirical, Alphabet, Pulse, OFDM)}
DESCRIBED |= {
    "gaussian": gaussian_of_table,
    "components": components_of_table,
    "empirical": Empirical.of_table,
    "alphabet": Alphabet.of_table,
    "pulse": Pulse.of_table,
    "ofdm": OFDM.of_table,
}
OBJECTIVES |= {"residual_denoising": ResidualDenoising, "lifted_denoising": LiftedDenoising}

__all__ = [
    "COMPONENTS_LEVEL",
    "CONSTELLATIONS",
    "DDIM",
    "DESCRIBED",
    "EXACT_SIZE",
    "MLP",
    "NETWORKS",
    "OBJECTIVES",
    "OFDM",
    "PRIORS",
    "PRIOR_STEPS",
    "STEPS",
    "WIFI",
    "Alphabet",
    "Ancestral",
    "AnyNetwork",
    "AnyObjective",
    "Batch",
    "Causal",
    "CausalConfig",
    "ComponentsDenoiser",
    "Conv",
    "ConvConfig",
    "Cost",
    "Decoupled",
    "Denoiser",
    "DenoiserPrior",
    "Denoising",
    "DiffWave",
    "DiffWaveConfig",
    "Empirical",
    "EmpiricalDenoiser",
    "GaussianDenoiser",
    "Heun",
    "LiftedDenoising",
    "LogDensity",
    "LowRankGaussianDenoiser",
    "MLPConfig",
    "Modulator",
    "MomentTarget",
    "NetworkConfig",
    "NetworkDenoiser",
    "Objective",
    "PredictorCorrector",
    "Prior",
    "PriorTarget",
    "Pulse",
    "Ranking",
    "Resampled",
    "ResidualDenoising",
    "Scaling",
    "Schedule",
    "Spread",
    "Step",
    "Symbols",
    "SymbolsDenoiser",
    "Target",
    "TrainingConfig",
    "UNet",
    "UNetConfig",
    "at_level",
    "components_cost",
    "components_of",
    "denoisers_of",
    "describe_prior",
    "exact_moments",
    "log_density",
    "measure_spread",
    "noise_like",
    "own_share",
    "principal_directions",
    "pulse_matrix",
    "pure_noise",
    "rank_candidates",
    "root_raised_cosine",
    "run_sampler",
    "train",
    "trainable_in",
]
