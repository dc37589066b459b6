"""From priors and an observation to posterior draws: one file per approximation of the likelihood."""

from collections.abc import Mapping
from math import prod

from dichroic.diffusion import EXACT_SIZE, Denoiser, Target
from dichroic.posterior.exact import ExactMMPS
from dichroic.posterior.krylov import KrylovMMPS
from dichroic.posterior.whitened import WhitenedObservation

# every posterior method, by the name it has in the settings; the tests hold each against exact Gaussian answers
POSTERIORS: dict[str, type[Target]] = {"exact": ExactMMPS, "krylov": KrylovMMPS}

__all__ = ["POSTERIORS", "ExactMMPS", "KrylovMMPS", "WhitenedObservation", "choose_method", "joint_posterior"]


def choose_method(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The method that suits sources of these shapes: exact where every Jacobian is small, Krylov otherwise."""
    return "exact" if all(prod(shape) <= EXACT_SIZE for shape in shapes.values()) else "krylov"


def joint_posterior(
    denoisers: Mapping[str, Denoiser],
    observation: WhitenedObservation,
    method: str = "auto",
    iterations: int = 3,
    root_iterations: int = 3,
) -> Target:
    """The joint posterior of the sources of one observation, ready to be sampled.

    One source and one view is plain moment matching posterior sampling.

    **Arguments:** `denoisers`, in scaled units, of at least the sources that enter; `method`, one of `POSTERIORS` or `"auto"`;
    `iterations` and `root_iterations`, of the Krylov method.

    **Raises:** `ValueError` for an unknown method or a source without a denoiser.
    """
    missing = [s for s in observation.shapes if s not in denoisers]
    if missing:
        raise ValueError(f"no prior for source {missing[0]!r}; there are priors for {list(denoisers)}")
    method = choose_method(observation.shapes) if method == "auto" else method
    if method == "exact":
        return ExactMMPS.create(dict(denoisers), observation)
    if method == "krylov":
        return KrylovMMPS.create(dict(denoisers), observation, iterations, root_iterations)
    raise ValueError(f"unknown posterior method {method!r}; known: {', '.join(POSTERIORS)}")
