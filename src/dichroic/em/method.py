"""Which posterior method serves the observations of a view, with all that it needs prepared."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.diffusion import (
    COMPONENTS_LEVEL,
    EXACT_SIZE,
    Cost,
    Decoupled,
    Denoiser,
    Prior,
    Schedule,
    Step,
    WithComponents,
    components_cost,
    components_of,
    denoisers_of,
    own_share,
)
from dichroic.em.amortise import amortise, amortise_cost
from dichroic.em.config import SamplingConfig
from dichroic.posterior import Conditional
from dichroic.problem import View

__all__ = ["Method", "prepare"]

_SHARED = 2**32 - 1  # folded into the key for what all observations share: no observation has this index
_MOST_SOURCES, _MOST_VALUES = 2, 8  # up to which candidates were found to be the best choice
_COVERED = 0.5  # own share of the components of a mixture, below which it covers its source
_ANNEALING = 8  # steps of candidates: more of them gain nothing
_FAR, _NEAR = 2.5, 0.02  # decoupled draws begin at so many standard deviations, and end at this one


@dataclass(frozen=True)
class Method:
    """How to draw from the posteriors of a view.

    **Fields:** `name`, one of `POSTERIORS` or "auto"; `denoisers`, with mixtures where it asks for them; `first`, the
    step that anneals; `high` and `low`, the noise levels between which it does; `finish`, the levels of the last steps
    with the priors' own networks, None when there are none; `shared`, evaluations per source behind the mixtures or the
    conditional denoiser; `most`, the number of steps beyond which more are of no use; `conditional`, for the amortised
    posterior.
    """

    name: str
    denoisers: dict[str, Denoiser]
    first: Step
    high: float
    low: float
    finish: Float[np.ndarray, " n"] | None
    shared: Cost
    most: int
    conditional: Conditional | None = None


def prepare(
    view: View,
    priors: Mapping[str, Prior],
    sampling: SamplingConfig,
    key: PRNGKeyArray,
    conditional: Conditional | None = None,
) -> Method:
    """Chooses the method and makes the mixtures it needs, or trains the conditional denoiser where none is given.

    **Raises:** `ValueError` when candidates are asked for and a source is too large for them, and when the observations
    of a view are too large for the amortised posterior.
    """
    priors = {s: priors[s] for s in view.mixing}
    denoisers, shared = denoisers_of(priors, f"posterior '{sampling.posterior}'"), Cost()
    schedule = next(iter(priors.values())).schedule
    size = max(prod(prior.shape) for prior in priors.values())
    name, step = sampling.posterior, sampling.make_step()
    if name == "best":
        small = size <= EXACT_SIZE and view.data_size <= _MOST_VALUES and len(priors) <= _MOST_SOURCES
        name = "candidates" if small else "auto"
    if name == "candidates":
        denoisers, shared, share = _with_components(denoisers, schedule, sampling, key)
        if sampling.posterior == "best" and share > _COVERED:
            name = "auto"  # too few components for what the source is: its moments say more
    high, low = _span(schedule, step if name != "candidates" else Decoupled(), size)
    most = max(sampling.steps, sampling.warm_steps)
    if name == "amortised":
        if conditional is None:
            conditional = amortise(view, priors, sampling, key=jax.random.fold_in(key, _SHARED))
            shared = amortise_cost(priors, sampling)
        bottom, finish = low, None
        if sampling.finish_steps and sampling.handover > bottom:
            low = min(sampling.handover, schedule.sigma_max)
            finish = np.geomspace(low, bottom, sampling.finish_steps + 1, dtype=np.float32)
        return Method(name, denoisers, step, high, low, finish, shared, most, conditional)
    if name != "candidates":
        return Method(name, denoisers, step, high, low, None, shared, most)
    bottom, low = low, max(low, COMPONENTS_LEVEL)
    finish = np.geomspace(low, bottom, sampling.finish_steps + 1, dtype=np.float32) if sampling.finish_steps else None
    return Method(name, denoisers, Decoupled(), high, low, finish, shared, _ANNEALING)


def _span(schedule: Schedule, step: Step, size: int) -> tuple[float, float]:
    """The noise levels between which to anneal.

    A decoupled step forgets the state it came from, so what happens far above the source's own scale is lost; and its
    last draw has a spread of its own, so that it can be taken where the posterior has become Gaussian. The variance
    along any direction is at most the number of dimensions.
    """
    if not isinstance(step, Decoupled):
        return schedule.sigma_max, schedule.sigma_min
    low = _NEAR if size <= EXACT_SIZE else schedule.sigma_min
    return min(schedule.sigma_max, _FAR * size**0.5), min(max(schedule.sigma_min, low), schedule.sigma_max)


def _with_components(
    denoisers: Mapping[str, Denoiser], schedule: Schedule, sampling: SamplingConfig, key: PRNGKeyArray
) -> tuple[dict[str, Denoiser], Cost, float]:
    """Denoisers that know their mixtures; the largest cost of one; the largest share of what a component covers that
    no other covers.
    """
    found: dict[str, Denoiser] = {}
    cost, largest = Cost(), 0.0
    for number, (s, denoiser) in enumerate(denoisers.items()):
        found[s] = denoiser
        if denoiser.components() is not None:
            continue
        mixture_key = jax.random.fold_in(jax.random.fold_in(key, _SHARED), number)
        mixture = components_of(denoiser, schedule, key=mixture_key, size=sampling.components)
        found[s] = WithComponents(denoiser, mixture)
        cost = max(cost, components_cost(denoiser, sampling.components), key=lambda c: c.total)
        largest = max(largest, float(own_share(mixture, COMPONENTS_LEVEL)))
    return found, cost, largest
