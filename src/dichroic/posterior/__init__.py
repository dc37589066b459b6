"""From priors and an observation to posterior draws: one file per approximation of the likelihood."""

from collections.abc import Mapping
from math import prod

import jax.numpy as jnp

from dichroic.diffusion import EXACT_SIZE, Denoiser, Target
from dichroic.posterior.amortised import AmortisedPosterior, Conditional
from dichroic.posterior.candidates import CandidatePosterior
from dichroic.posterior.exact import ExactMMPS
from dichroic.posterior.gibbs import gibbs_rounds
from dichroic.posterior.krylov import KrylovMMPS
from dichroic.posterior.surrogate import SurrogateMMPS
from dichroic.white import WhitenedObservation

# every posterior method, by the name it has in the settings; the tests hold each against exact Gaussian answers
POSTERIORS: dict[str, type[Target]] = {
    "exact": ExactMMPS,
    "surrogate": SurrogateMMPS,
    "krylov": KrylovMMPS,
    "candidates": CandidatePosterior,
    "amortised": AmortisedPosterior,
}

__all__ = [
    "POSTERIORS",
    "AmortisedPosterior",
    "CandidatePosterior",
    "Conditional",
    "ExactMMPS",
    "KrylovMMPS",
    "SurrogateMMPS",
    "choose_method",
    "gibbs_rounds",
    "joint_posterior",
]


def choose_method(denoisers: Mapping[str, Denoiser]) -> str:
    """The method that suits these sources: exact where every Jacobian is small, else the surrogate if it can be had."""
    if all(prod(denoiser.shape) <= EXACT_SIZE for denoiser in denoisers.values()):
        return "exact"
    return "surrogate" if all(d.moments_given(jnp.ones(())) is not None for d in denoisers.values()) else "krylov"


def joint_posterior(
    denoisers: Mapping[str, Denoiser],
    observation: WhitenedObservation,
    method: str = "auto",
    iterations: int = 3,
    root_iterations: int = 3,
    shared: bool = False,
    tuples: int = 4096,
    conditional: Conditional | None = None,
) -> Target:
    """The joint posterior of the sources of one observation, ready to be sampled.

    One source and one view is plain moment matching posterior sampling.

    **Arguments:** `denoisers`, in scaled units, of at least the sources that enter; `method`, one of `POSTERIORS` or
    `"auto"`; `iterations` and `root_iterations`, of the Krylov method; `shared`, whether all observations that will be
    batched have the same operators, noise and mask, which the surrogate makes use of; `tuples`, how many combinations
    of candidates are weighed; `conditional`, what was trained for the amortised posterior, which without it is that of
    Gaussian stand-ins for the priors.

    **Raises:** `ValueError` for an unknown method or a source without a denoiser.
    """
    missing = [s for s in observation.shapes if s not in denoisers]
    if missing:
        raise ValueError(f"no prior for source {missing[0]!r}; there are priors for {list(denoisers)}")
    chosen = {s: denoisers[s] for s in observation.shapes}
    method = choose_method(chosen) if method == "auto" else method
    if method == "exact":
        return ExactMMPS.create(chosen, observation)
    if method == "surrogate":
        return SurrogateMMPS.create(chosen, observation, shared)
    if method == "krylov":
        return KrylovMMPS.create(chosen, observation, iterations, root_iterations)
    if method == "candidates":
        return CandidatePosterior.create(chosen, observation, tuples)
    if method == "amortised":
        return AmortisedPosterior.create(conditional or Conditional.gaussian(chosen), observation)
    raise ValueError(f"unknown posterior method {method!r}; known: {', '.join(POSTERIORS)}")
