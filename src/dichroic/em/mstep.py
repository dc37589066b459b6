"""The M-step of a lap: the denoiser of a source learns from the draws of that source."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic import memory
from dichroic.diffusion import (
    Denoiser,
    DenoiserPrior,
    NetworkDenoiser,
    Prior,
    Spread,
    measure_spread,
    principal_directions,
    train,
)
from dichroic.em.state import Lap
from dichroic.settings import FitConfig

__all__ = ["maximise", "measure_errors", "new_network"]

_SPREAD_RANK, _SPREAD_DRAWS, _SPREAD_SAMPLES, _SPREAD_LEAST = 256, 4096, 512, 64
_COMPONENTS_BASE = 256  # numbers in a source up to which its network corrects a mixture, beyond it a Gaussian


def maximise(lap: Lap, source: str, report: Callable[[int, int], None]) -> None:
    """Trains the denoiser of one source on its pooled draws."""
    context, prior, path = lap.context, lap.priors[source], (lap.state.stage, lap.state.lap)
    number = lap.stage.learn.index(source)
    pooled, usable = lap.pooled(source)
    denoiser = prior.denoiser()
    if not isinstance(denoiser, NetworkDenoiser):
        denoiser = new_network(prior, context.config, context.key(1, lap.state.stage, number))
    trained, loss = train(
        replace(denoiser, spread=None),  # the errors measured before do not matter, and all laps share one program
        prior.schedule,
        memory.by_rows(lambda x: np.asarray(prior.scaling.to_scaled(x), np.float32), pooled),
        context.config.training,
        key=context.key(2, *path, number),
        usable=jax.device_put(np.argsort(~usable, kind="stable")),
        count=int(usable.sum()),
        augment=context.problem.sources[source].augmentation,
        report=report,
    )
    some = memory.rows(pooled, np.flatnonzero(usable)[: max(_SPREAD_DRAWS, _SPREAD_SAMPLES)])
    spread = _spread(trained, lap, source, some, context.key(6, *path, number))
    provenance = {"stage": lap.stage.name, "lap": lap.number}
    lap.priors[source] = DenoiserPrior(replace(trained, spread=spread), prior.schedule, prior.scaling, provenance)
    lap.loss[source] = float(loss[-len(loss) // 4 :].mean())


def new_network(prior: Prior, config: FitConfig, key: PRNGKeyArray) -> NetworkDenoiser:
    """The network of a source before it has learned anything: a correction of the closed-form prior, or of nothing."""
    base = _base(prior.denoiser()) if config.residual else None
    network, objective = config.network_for(prior.shape), config.training.objective
    return NetworkDenoiser.create(
        prior.shape, network, key=key, base=base, precision=config.precision, objective=objective
    )


def _base(denoiser: Denoiser | None) -> Denoiser | None:
    """What a network is to be the correction of: the closed-form prior, if it costs less than the network does."""
    if denoiser is None or prod(denoiser.shape) <= _COMPONENTS_BASE:
        return denoiser
    return denoiser.gaussian() or denoiser


def _spread(denoiser: NetworkDenoiser, lap: Lap, source: str, draws: np.ndarray, key: PRNGKeyArray) -> Spread:
    """Measures the new denoiser's errors, on held-out draws where there are any: others it may know by heart."""
    prior = lap.priors[source]
    held = [x for x in lap.state.held_out_draws.values() if source in x]
    found = [x[source][np.flatnonzero(x["usable"])[:_SPREAD_SAMPLES]] for x in held]
    judged = np.concatenate(found) if sum(map(len, found)) >= _SPREAD_LEAST else draws[:_SPREAD_SAMPLES]
    judged = np.resize(judged, (_SPREAD_SAMPLES, *prior.shape))  # one shape, one program, whatever lap
    judged, objective = _single(prior.scaling.to_scaled(judged)), lap.context.config.training.objective
    if hasattr(objective, "judge"):
        objective.judge(denoiser, prior.schedule, judged, key=jax.random.fold_in(key, 1))  # pyright: ignore
    return measure_errors(denoiser, prior, draws[:_SPREAD_DRAWS], judged, key)


def measure_errors(
    denoiser: NetworkDenoiser, prior: Prior, draws: np.ndarray, judged: Float[Array, "n ..."], key: PRNGKeyArray
) -> Spread:
    """Measures a denoiser's errors on draws in scaled units (`judged`), along the principal directions of others."""
    basis = principal_directions(draws, _SPREAD_RANK)
    return measure_spread(denoiser, prior.schedule, judged, _single(basis), key=key)


def _single(x: np.ndarray) -> Array:
    """In single precision, rounded on the host: every shape would be a program."""
    return jax.device_put(np.asarray(x, np.float32))
