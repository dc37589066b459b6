"""Training by a bound on the likelihood, over the observations of all views."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from dichroic.diffusion import TrainingConfig
from dichroic.operators import take
from dichroic.problem import View

__all__ = ["train_elbo"]

_CHUNKS = 32  # compiled loops, and values of the bound that are kept


def train_elbo(
    networks: Any,
    bound: Callable[..., Any],
    data: Mapping[str, tuple[View, Mapping[str, np.ndarray]]],
    config: TrainingConfig,
    *,
    key: PRNGKeyArray,
) -> tuple[Any, list[float]]:
    """Climbs the mean over all observations of `bound(networks, view, observation, features, key)`.

    Every step draws a batch of every view, with replacement, and weighs it by the number of observations of the view.

    **Arguments:** `data`, `{view: (observations, {source: features})}`.

    **Returns:** the moving average of the networks, and the mean bound of every 32nd part of the training.
    """
    weights, rest = eqx.partition(networks, eqx.is_inexact_array)
    state = (weights, weights, config.optimizer().init(weights))
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
        state, losses = _run(state, rest, bound, held, counts, shares, size, key, jnp.asarray(begin), config, steps)
        values.append(-float(losses.mean()) * size)
    return eqx.combine(state[1] if config.ema > 0 else state[0], rest), values


@eqx.filter_jit
def _run(state, rest, bound, data, counts, shares, size, key, begin, config, steps):
    optimizer = config.optimizer()

    def loss_of(weights, key):
        networks, total = eqx.combine(weights, rest), 0.0
        for number, (view, (observations, seen)) in enumerate(data.items()):
            batch_key, draw_key = jax.random.split(jax.random.fold_in(key, number))
            chosen = jax.random.randint(batch_key, (config.batch,), 0, counts[view])

            def one(i, key, view=view, observations=observations, seen=seen):
                return bound(networks, view, take(observations, i), {s: f[i] for s, f in seen.items()}, key)

            bounds = jax.vmap(one)(chosen, jax.random.split(draw_key, config.batch))
            total = total - shares[view] / size * bounds.mean()
        return total

    def step(state, index):
        weights, average, optimizer_state = state
        value, gradient = jax.value_and_grad(loss_of)(weights, jax.random.fold_in(key, index))
        update, optimizer_state = optimizer.update(gradient, optimizer_state, weights)
        weights = optax.apply_updates(weights, update)
        # ramped, as for denoisers: the average forgets the start at any length of training
        decay = jnp.asarray(config.ema) ** (config.steps / (index + 1))
        average = jax.tree.map(lambda a, w: a + (1 - decay).astype(w.dtype) * (w - a), average, weights)
        return (weights, average, optimizer_state), value

    return jax.lax.scan(step, state, begin + jnp.arange(steps))
