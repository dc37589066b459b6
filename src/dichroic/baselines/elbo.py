"""Training by a bound on the likelihood, over the observations of all views."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray

from dichroic.diffusion import TrainingConfig
from dichroic.operators import take
from dichroic.problem import View

__all__ = ["train_elbo"]

_CHUNKS = 32  # compiled loops, and values of the bound that are kept


def train_elbo(
    networks: Any,
    bound: Any,
    data: Mapping[str, tuple[View, Mapping[str, np.ndarray]]],
    config: TrainingConfig,
    *,
    key: PRNGKeyArray,
) -> tuple[Any, list[float]]:
    """Climbs the mean over all observations of `bound(networks, view, observation, features, chance)`.

    Every step draws a batch of every view, with replacement, and weighs it by the number of observations of the view.

    **Arguments:** `bound`, whose `chance(key, view, n)` is what is random in it for `n` observations; `data`, `{view:
    (observations, {source: features})}`.

    **Returns:** the moving average of the networks, and the mean bound of every 32nd part of the training.
    """
    weights, rest = eqx.partition(networks, eqx.is_inexact_array)
    # one vector: an optimiser of many small arrays takes long to compile
    flat, unravel = ravel_pytree(weights)
    state = (flat, flat, config.optimizer().init(flat))
    total = sum(len(view) for view, _ in data.values())
    shares = {v: len(view) / total for v, (view, _) in data.items()}
    # a gradient clipped to a fixed norm needs a loss that does not grow with the size of the data
    size = sum(shares[v] * max(1, int(np.prod(view.event_shape))) for v, (view, _) in data.items())
    held = {v: (view.observations, {s: jnp.asarray(f) for s, f in seen.items()}) for v, (view, seen) in data.items()}
    held = jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, held)
    counts = {v: len(view) for v, (view, _) in data.items()}
    chunk, values = -(-config.steps // _CHUNKS), []
    for begin in range(0, config.steps, chunk):
        steps = min(chunk, config.steps - begin)
        state, losses = _run(
            state, unravel, rest, bound, held, counts, shares, size, key, jnp.asarray(begin), config, steps
        )
        values.append(-float(losses.mean()) * size)
    return eqx.combine(unravel(state[1] if config.ema > 0 else state[0]), rest), values


@eqx.filter_jit
def _run(state, unravel, rest, bound, data, counts, shares, size, key, begin, config, steps):
    optimizer = config.optimizer()

    def loss_of(weights, key):
        networks, total, keys = eqx.combine(unravel(weights), rest), 0.0, jax.random.split(key, 2 * len(data))
        for number, (view, (observations, seen)) in enumerate(data.items()):
            uniform = jax.random.uniform(keys[2 * number], (config.batch,))
            chosen = jnp.minimum((uniform * counts[view]).astype(jnp.int32), counts[view] - 1)
            chance = bound.chance(keys[2 * number + 1], view, config.batch)

            def one(i, chance, view=view, observations=observations, seen=seen):
                return bound(networks, view, take(observations, i), {s: f[i] for s, f in seen.items()}, chance)

            bounds = jax.vmap(one)(chosen, chance)
            total = total - shares[view] / size * bounds.mean()
        return total

    def step(state, index):
        weights, average, optimizer_state = state
        value, gradient = jax.value_and_grad(loss_of)(weights, jax.random.fold_in(key, index))
        update, optimizer_state = optimizer.update(gradient, optimizer_state, weights)
        weights = jnp.asarray(optax.apply_updates(weights, update))
        # ramped, as for denoisers: the average forgets the start at any length of training
        decay = jnp.asarray(config.ema) ** (config.steps / (index + 1))
        average = average + (1 - decay).astype(weights.dtype) * (weights - average)
        return (weights, average, optimizer_state), value

    return jax.lax.scan(step, state, begin + jnp.arange(steps))
