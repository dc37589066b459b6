"""Training of a conditional denoiser for one view, on simulated pairs."""

from collections.abc import Callable, Collection, Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.closed.statistics import Statistics
from dichroic.diffusion import (
    Cost,
    GaussianDenoiser,
    MLPConfig,
    NetworkConfig,
    NetworkDenoiser,
    Prior,
    Scaling,
    TrainingConfig,
    train,
)
from dichroic.diffusion.prior import PRIOR_STEPS
from dichroic.em.config import SamplingConfig
from dichroic.operators import take
from dichroic.posterior import Conditional
from dichroic.posterior.closed_form import has_closed_form
from dichroic.posterior.gaussian import JACOBI_SIZE, LinearModel, linear_model
from dichroic.posterior.pairs import PairObjective, measure_ratios
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import widen

__all__ = ["amortise", "amortise_cost", "conditional_of"]

_SHARED = 2**32 - 1  # folded into a key for what all draws share: no draw has this index
_DEPTH = 4  # layers of the MLP
_UNKNOWNS = 2048  # of all sources of an observation together: their covariance is formed
_NUMBERS = 2**25  # in the models of all observations together: more of them are left out of the simulation
_CHUNK = 256  # observations whose models are made side by side
_DRAWS, _MEMORY = 2**14, 2**22  # draws of a prior, entries made at once


def amortise(
    view: View,
    priors: Mapping[str, Prior],
    sampling: SamplingConfig,
    *,
    key: PRNGKeyArray,
    draws: Mapping[str, Float[np.ndarray, "n ..."]] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Conditional:
    """Trains a conditional denoiser for a view.

    Pairs are simulated from draws of the sources, each source's by themselves, with operators and noise of the view's
    own observations. The Gaussian stand-ins have the moments of the draws.

    **Arguments:** `draws`, usable ones of as many sources as there are any of, in the user's units; those of other
    sources are drawn from their priors.

    **Raises:** `ValueError` when the observations are too large.
    """
    priors = {s: priors[s] for s in view.mixing}
    scalings, schedule = {s: prior.scaling for s, prior in priors.items()}, next(iter(priors.values())).schedule
    _check_size(view, priors)
    network_key, train_key, spread_key, choice_key, draw_key = jax.random.split(key, 5)
    scaled = {}
    for number, (s, prior) in enumerate(priors.items()):
        if draws is not None and s in draws:
            scaled[s] = scalings[s].to_scaled(np.asarray(draws[s], float))
        else:
            scaled[s] = scalings[s].to_scaled(_prior_draws(prior, jax.random.fold_in(draw_key, number)).astype(float))
    populations = {s: _gaussian(x) for s, x in scaled.items()}
    conditional = Conditional.create(
        populations, _network(view, priors, sampling), key=network_key, sees_operators=not view.shared
    )
    models = view_models(view, scalings, populations, choice_key)
    pairs = PairObjective({s: jnp.asarray(x, jnp.float32) for s, x in scaled.items()}, models, view.shared)
    count = 1 if view.shared else len(models.values)
    training = TrainingConfig(steps=sampling.pair_steps, batch=sampling.pair_batch)
    conditional, _ = train(
        conditional, schedule, jnp.arange(count), training, key=train_key, objective=pairs, report=report
    )
    ratios = measure_ratios(conditional, pairs, schedule, count, key=spread_key)
    return eqx.tree_at(lambda c: c.spread, conditional, ratios, is_leaf=lambda x: x is None)


def conditional_of(
    view: View,
    priors: Mapping[str, Prior],
    sampling: SamplingConfig,
    key: PRNGKeyArray,
    report: Callable[[int, int], None] | None = None,
) -> Conditional | None:
    """What several calls of `draw_posterior` are to share: a conditional denoiser trained on draws of the priors.

    None where the posterior method is another one, and where draws are exact.
    """
    if sampling.posterior != "amortised" or has_closed_form(view, priors):
        return None
    return amortise(view, priors, sampling, key=jax.random.fold_in(key, _SHARED), report=report)


def amortise_cost(priors: Mapping[str, Prior], sampling: SamplingConfig, given: Collection[str] = ()) -> Cost:
    """Network evaluations per source of `amortise`, for all draws together: a gradient is a product with the network.

    **Arguments:** `priors`, of the sources of the view; `given`, sources of which draws were given.
    """
    simulated = [_number(prior) for s, prior in priors.items() if s not in given]
    return Cost(1, 1) * (sampling.pair_steps * sampling.pair_batch) + Cost(2 * PRIOR_STEPS + 1) * max(
        simulated, default=0
    )


def _prior_draws(prior: Prior, key: PRNGKeyArray) -> Float[np.ndarray, "n ..."]:
    """Draws of a prior to simulate with, in the user's units; whole batches, which one program serves."""
    n = _number(prior)
    batch = min(n, max(16, _MEMORY // prod(prior.shape)))
    keys = [jax.random.fold_in(key, begin) for begin in range(0, n, batch)]
    return np.concatenate([np.asarray(prior.sample(batch, key=k)) for k in keys])[:n]


def _number(prior: Prior) -> int:
    return min(_DRAWS, max(1024, _MEMORY // prod(prior.shape)))


def _network(view: View, priors: Mapping[str, Prior], sampling: SamplingConfig) -> NetworkConfig:
    """A U-Net like those of the priors where there is one and it can serve, an MLP elsewhere."""
    denoisers = (prior.denoiser() for prior in priors.values())
    learned = [d.network.config for d in denoisers if isinstance(d, NetworkDenoiser)]  # pyright: ignore
    shapes = {prior.shape[:2] for prior in priors.values()}
    if view.shared and len(shapes) == 1 and all(len(prior.shape) == 3 for prior in priors.values()):
        for config in learned:
            if config.kind == "unet":
                return config
    return MLPConfig(width=sampling.pair_width, depth=_DEPTH)


def _check_size(view: View, priors: Mapping[str, Prior]) -> None:
    unknowns = sum(prod(prior.shape) for prior in priors.values())
    most = _UNKNOWNS if view.shared else JACOBI_SIZE
    if unknowns > most:
        differ = (
            "share their operators, noise and mask" if view.shared else "have operators, noise or masks of their own"
        )
        raise ValueError(
            f"posterior 'amortised' is for up to {most} unknowns per observation where observations {differ}; these "
            f"have {unknowns} ({', '.join(f'{s}: {prod(prior.shape)}' for s, prior in priors.items())})"
        )


def view_models(
    view: View, scalings: Mapping[str, Scaling], populations: Mapping[str, GaussianDenoiser], key: PRNGKeyArray
) -> LinearModel:
    """The linear models of the observations of a view, or the one they share, found in double precision.

    Where there are more observations than memory is meant for, they are those of a random choice.
    """
    shapes = {s: p.shape for s, p in populations.items()}
    d = sum(map(prod, shapes.values()))
    m = prod(view.event_shape) * (2 if np.iscomplexobj(view.y) else 1)
    if view.shared:
        chosen = np.zeros(1, int)
    else:
        most = max(1, _NUMBERS // (2 * m * d + d * d + 2 * d))
        chosen = np.asarray(jax.random.permutation(key, len(view)))[:most]
    parts = []
    with jax.enable_x64(True):
        for begin in range(0, len(chosen), _CHUNK):
            members = np.resize(chosen[begin : begin + _CHUNK], min(_CHUNK, len(chosen)))
            wide, known = jax.tree.map(widen, (view.select(members).observations, dict(populations)))
            part = _models(wide, known, {s: scalings[s] for s in shapes}, len(members))
            kept = len(chosen[begin : begin + _CHUNK])
            parts.append(jax.tree.map(lambda a, kept=kept: np.asarray(a[:kept], np.float32), part))
    if view.shared:
        return jax.tree.map(lambda a: jnp.asarray(a[0]), parts[0])
    return jax.tree.map(lambda *a: jnp.asarray(np.concatenate(a)), *parts)


@eqx.filter_jit
def _models(observations, populations, scalings, n):
    shapes = {s: p.shape for s, p in populations.items()}

    def one(i) -> LinearModel:
        return linear_model(populations, WhitenedObservation.of(take(observations, i), scalings, shapes))

    return jax.vmap(one)(jnp.arange(n))


def _gaussian(scaled: np.ndarray) -> GaussianDenoiser:
    flat = scaled.reshape(len(scaled), -1)
    found = Statistics(len(flat), flat.sum(0), flat.T @ flat).population(None)
    return GaussianDenoiser.of(found, scaled.shape[1:])
