"""Scores, gradients of the logarithm of a density, from samples: objectives for networks, and kernel estimators.

It needs nothing else of the library. From samples to a score, with what is known of its error:

>>> import numpy as np
>>> from dichroic.score import choose, nu_method, sampling_error, spectral_stein, tikhonov
>>> rng = np.random.default_rng(0)
>>> samples, fresh = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
>>> name, score, losses = choose(samples, {"curl-free": tikhonov, "spectral": spectral_stein, "nu": nu_method})
>>> name
'spectral'
>>> error = sampling_error(samples, spectral_stein)  # variance, as a share of the energy of the score
>>> true = np.mean((score(fresh) + fresh) ** 2)  # known here, the score being -x: the rest is bias
>>> f"{error:.2f} {true:.2f}"
'0.03 0.07'
"""

from dichroic.score.at_samples import spectral_at_samples, stein_at_samples
from dichroic.score.checks import alignment_ratio, entropy_surrogate, relative_fisher_error, stein_ratio
from dichroic.score.directions import PrincipalDirectionScore, directional_terms, score_covariance, tweedie_score
from dichroic.score.discrepancy import stein_discrepancies, stein_test
from dichroic.score.estimators import KernelScore, nu_method, spectral_stein, stein_gradient, tikhonov
from dichroic.score.held_out import choose, held_out_loss, sampling_error
from dichroic.score.kernels import Kernel
from dichroic.score.reductions import lifted_loss, score_matching_loss
from dichroic.score.residual import ResidualScore, require_aligned, residual_terms, signs_of, track_alignment
from dichroic.score.terms import ScoreTerms, denoising_terms, exact_terms, sliced_terms

__all__ = [
    "Kernel",
    "KernelScore",
    "PrincipalDirectionScore",
    "ResidualScore",
    "ScoreTerms",
    "alignment_ratio",
    "choose",
    "denoising_terms",
    "directional_terms",
    "entropy_surrogate",
    "exact_terms",
    "held_out_loss",
    "lifted_loss",
    "nu_method",
    "relative_fisher_error",
    "require_aligned",
    "residual_terms",
    "sampling_error",
    "score_covariance",
    "score_matching_loss",
    "signs_of",
    "sliced_terms",
    "spectral_at_samples",
    "spectral_stein",
    "stein_at_samples",
    "stein_discrepancies",
    "stein_gradient",
    "stein_ratio",
    "stein_test",
    "tikhonov",
    "track_alignment",
    "tweedie_score",
]
