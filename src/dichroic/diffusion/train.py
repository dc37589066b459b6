"""The M-step of one source: fit its denoiser to samples."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from dichroic.diffusion.objective import OBJECTIVES
from dichroic.diffusion.schedule import Schedule

__all__ = ["TrainingConfig", "train"]

Learned = TypeVar("Learned", bound=Any)  # a module with a `network`

_CHUNKS = 16  # compiled loops per call: how often progress is reported


class TrainingConfig(BaseModel):
    """Settings of one M-step.

    `steps` optimiser steps of `batch` samples with Adam; the rate goes from `rate` to `final_rate` by `decay`;
    gradients are clipped to global norm `clip`; the weights returned are an exponential moving average with `ema` as
    its final decay (0: the last weights). Gradients of a batch are added up from blocks of at most `block` samples
    (None: as many as are fast for the network), which takes less memory and changes nothing but rounding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: PositiveInt = 1024
    batch: PositiveInt = 512
    block: PositiveInt | None = None
    rate: PositiveFloat = 1e-3
    final_rate: float = 1e-5
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    clip: PositiveFloat = 1.0
    ema: float = 0.99
    objective: Literal["denoising"] = "denoising"

    def blocks(self, fast: int | None) -> int:
        """How many equal blocks of at most `block` samples make a batch; `fast` is the network's choice (None: all)."""
        most = self.block or fast or self.batch
        return next(n for n in range(1, self.batch + 1) if self.batch % n == 0 and self.batch // n <= most)

    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser these settings describe."""
        rate = {
            "linear": optax.linear_schedule(self.rate, self.final_rate, self.steps),
            "cosine": optax.cosine_decay_schedule(self.rate, self.steps, self.final_rate / self.rate),
            "constant": self.rate,
        }[self.decay]
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(rate))


def train(
    denoiser: Learned,
    schedule: Schedule,
    samples: Shaped[Array, "n ..."],
    config: TrainingConfig,
    *,
    key: PRNGKeyArray,
    objective: Callable[..., Float[Array, ""]] | None = None,
    usable: Int[Array, " n"] | None = None,
    count: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Learned, Float[Array, " steps"]]:
    """Trains a denoiser on samples of its source, in the denoiser's units.

    Whatever has a `network` and a `spread` can be trained; the rest of it stays as it is.

    Batches are drawn with replacement. The program is compiled once per shape of `samples`, whatever the lap.

    **Arguments:** `samples`, shape `(n, ...)`; `objective`, a function of denoiser, schedule, one of the samples and a
    key, or a module of arrays that is one (default: the one in the settings); `usable` and `count`, when not all
    samples may be used: an ordering of `range(n)` whose first `count` entries may; `report(done, steps)` is called now
    and then.

    **Returns:** the trained denoiser (its moving average) and the loss of every step.
    """
    n = len(samples)
    usable = jnp.arange(n) if usable is None else jnp.asarray(usable)
    count_array = jnp.asarray(n if count is None else count, dtype=jnp.int32)
    # the errors measured before do not matter, and without them all laps share one program
    bare = eqx.tree_at(lambda d: d.spread, denoiser, None, is_leaf=lambda x: x is None)
    learned = eqx.tree_at(
        lambda d: d.network, jax.tree.map(lambda _: False, bare), jax.tree.map(eqx.is_inexact_array, bare.network)
    )
    weights, rest = eqx.partition(bare, learned)
    state = (_copied(weights), _copied(weights), config.optimizer().init(weights))
    losses = []
    chunk = -(-config.steps // _CHUNKS)
    for start in range(0, config.steps, chunk):
        steps = min(chunk, config.steps - start)
        fixed = (
            rest,
            OBJECTIVES[config.objective] if objective is None else objective,
            schedule,
            samples,
            usable,
            count_array,
            key,
            jnp.asarray(start),  # traced: a Python number would compile the loop anew for every chunk
            config,
            steps,
        )
        state, loss = _run(fixed, state)
        losses.append(loss)
        if report is not None:
            jax.block_until_ready(loss)
            report(start + steps, config.steps)
    trained = eqx.combine(state[1] if config.ema > 0 else state[0], rest)
    return eqx.tree_at(lambda d: d.network, denoiser, trained.network), jnp.concatenate(losses)


def _copied(weights):
    """The caller's weights outlive the training; what the loop is given, it overwrites."""
    return jax.tree.map(jnp.copy, weights)


@eqx.filter_jit(donate="all-except-first")
def _run(fixed, state):
    """Optimiser steps in place: the memory of weights, average and moments is used again."""
    rest, objective, schedule, samples, usable, count, key, start, config, steps = fixed
    optimizer = config.optimizer()
    blocks = config.blocks(getattr(rest.network, "fast_block", None))

    def step(state, index):
        weights, average, optimizer_state = state
        batch_key, loss_key = jax.random.split(jax.random.fold_in(key, index))
        chosen = usable[jax.random.randint(batch_key, (config.batch,), 0, count)]
        keys = jax.random.split(loss_key, config.batch)

        def loss(weights, x, keys):
            trained = eqx.combine(weights, rest)
            return jnp.sum(jax.vmap(lambda x, k: objective(trained, schedule, x, k))(x, keys)) / config.batch

        def add(total, block):
            return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(weights, samples[block[0]], block[1])), None

        nothing = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), weights))
        (value, gradient), _ = jax.lax.scan(add, nothing, (chosen.reshape(blocks, -1), keys.reshape(blocks, -1)))
        update, optimizer_state = optimizer.update(gradient, optimizer_state, weights)
        weights = optax.apply_updates(weights, update)
        # the decay ramps up, so that the average forgets the start at any length of training (DDPRISM, section 5)
        decay = jnp.asarray(config.ema) ** (config.steps / (index + 1))
        average = jax.tree.map(lambda a, w: a + (1 - decay).astype(w.dtype) * (w - a), average, weights)
        return (weights, average, optimizer_state), value

    return jax.lax.scan(step, state, start + jnp.arange(steps))
