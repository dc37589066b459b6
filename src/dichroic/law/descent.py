"""Stochastic gradient descent of anything on anything simulated as it goes."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

__all__ = ["Descent", "descend", "half"]

Learned = TypeVar("Learned", bound=Any)  # a module that says what of it is `trainable`
Report = Callable[[int, int], None]

_TOGETHER = 32  # steps in one program where that is faster


class Descent(eqx.Module):
    """How to descend: `steps` of Adam at `rate`, warmed up over `warm` steps, falling by a cosine; `ema`, of the
    weights that are returned.
    """

    steps: int = eqx.field(static=True)
    rate: float = eqx.field(static=True, default=2e-3)
    warm: int = eqx.field(static=True, default=50)
    ema: float = eqx.field(static=True, default=0.99)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        warm = min(self.warm, self.steps // 4)
        rate = optax.warmup_cosine_decay_schedule(0.0, self.rate, warm, max(self.steps, warm + 1))
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def descend(
    model: Learned,
    loss: Callable[[Learned, Any, PRNGKeyArray], Array],
    data: Any,
    how: Descent,
    *,
    key: PRNGKeyArray,
    report: Report | None = None,
) -> tuple[Learned, Array]:
    """Minimises `loss(model, data, key)`, a new key at every step.

    On a CPU a program is one step: convolutions are ten times slower within loops there.

    **Returns:** the moving average of the model, and the loss of every step.
    """
    weights, rest = eqx.partition(model, model.trainable())
    weights = jax.tree.map(jnp.copy, weights)
    state = (weights, jax.tree.map(jnp.copy, weights), how.optimizer.init(weights))
    together = 1 if jax.default_backend() == "cpu" else min(_TOGETHER, how.steps)
    losses = []
    for begin in range(0, how.steps, together):
        state, found = _steps((rest, loss, data, how, key, jnp.asarray(begin), together), state)
        losses.append(found)
        if report is not None:
            jax.block_until_ready(found)
            report(min(begin + together, how.steps), how.steps)
    return eqx.combine(state[1], rest), jnp.concatenate(losses)


@eqx.filter_jit(donate="all-except-first")
def _steps(fixed, state):
    rest, loss, data, how, key, begin, together = fixed

    def step(state, index):
        weights, average, moments = state
        value, gradient = jax.value_and_grad(
            lambda w: loss(eqx.combine(w, rest), data, jax.random.fold_in(key, index))
        )(weights)
        update, moments = how.optimizer.update(gradient, moments, weights)
        weights = optax.apply_updates(weights, update)
        decay = jnp.minimum(how.ema, (1 + index) / (10 + index))
        average = jax.tree.map(lambda a, w: a + (1 - decay) * (w - a), average, weights)
        return (weights, average, moments), value

    if together == 1:
        state, value = step(state, begin)
        return state, value[None]
    return jax.lax.scan(step, state, begin + jnp.arange(together))


def half(model: Learned) -> Learned:
    """The model in bfloat16, for which gradients of the whole one are taken."""
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16) if eqx.is_inexact_array(a) else a, model)
