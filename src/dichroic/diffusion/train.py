"""The M-step of one source: fit its denoiser to samples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from dichroic import memory
from dichroic.devices import everywhere, on_every_device, own_rows, total, within_memory
from dichroic.diffusion.leaves import filled, named_arrays
from dichroic.diffusion.objective import AnyObjective, Batch, Denoising, Objective
from dichroic.diffusion.schedule import Schedule
from dichroic.kinds import Settings, Share
from dichroic.store import Format, StoreError, load_arrays, reading, save_arrays

__all__ = ["TrainingConfig", "train"]

Learned = TypeVar("Learned", bound=Any)  # a module that says what of it is `trainable`

_CHECKPOINT = Format("dichroic training", 1)
_STATE = 2**32 - 1  # folded into the key of the objective's state: no step has this index
_AUGMENT = 2**32 - 2  # folded into the key of a sample, for its augmentation
_CHUNKS = 16  # compiled loops per call: how often progress is reported


class TrainingConfig(Settings):
    """Settings of one M-step.

    `steps` optimiser steps of `batch` samples with Adam; the rate goes from `rate` to `final_rate` by `decay`;
    gradients are clipped to global norm `clip`; the weights returned are an exponential moving average with `ema` as
    its final decay. Gradients of a batch are added up from blocks of at most `block` samples (None: as many as are fast
    for the network; half as many wherever memory runs out), which changes nothing but rounding.
    """

    steps: PositiveInt = 1024
    """Optimiser steps per lap and source."""
    batch: PositiveInt = 512
    """Samples per optimiser step."""
    block: PositiveInt | None = None
    """Samples whose gradients are taken together: fewer take less memory."""
    rate: PositiveFloat = 1e-3
    """Learning rate at the start of a lap."""
    final_rate: NonNegativeFloat = 1e-5
    """Learning rate at the end of a lap."""
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    """How the rate goes from one to the other."""
    clip: PositiveFloat = 1.0
    """Largest norm of a gradient."""
    ema: Share = 0.99
    """Final decay of the moving average of the weights; 0 takes the last weights."""
    objective: AnyObjective = Denoising()
    """What is minimised."""

    def blocks(self, fast: int | None, batch: int | None = None) -> int:
        """How many equal blocks of at most `block` samples make a batch, or one device's part of it; `fast` is the
        network's choice (None: all).
        """
        batch = batch or self.batch
        most = self.block or fast or batch
        return next(n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= most)

    @property
    def chunk(self) -> int:
        """How many steps run between two reports."""
        return -(-self.steps // _CHUNKS)

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
    samples: Shaped[Array, "n ..."] | Shaped[np.ndarray, "n ..."],
    config: TrainingConfig,
    *,
    key: PRNGKeyArray,
    objective: Objective | None = None,
    usable: Int[Array, " n"] | None = None,
    count: int | None = None,
    augment: Callable[[Any, PRNGKeyArray], Any] | None = None,
    report: Callable[[int, int], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[Learned, Float[np.ndarray, " steps"]]:
    """Trains a denoiser on samples of its source, in the denoiser's units.

    Whatever is `trainable` of it is trained; the rest stays as it is. It may be a denoiser of anything that the
    objective knows how to use.

    Batches are drawn with replacement. The program is compiled once per shape of `samples`, whatever the lap. Where
    memory runs out, training begins again, or goes on from its checkpoint, with half the block, and a warning says so.

    **Arguments:** `samples`, shape `(n, ...)`, taken batch by batch where they are larger than their share of memory;
    `objective`, settings or a module of arrays (default: the one in the
    settings); `usable` and `count`, when not all samples may be used: an ordering of `range(n)` whose first `count`
    entries may; `augment(x, key)`, which moves a sample of a batch to another that is as likely (hashable, for equal
    ones share a program); `report(done, steps)` is called now and then; `checkpoint`, a file that is written
    as often: training goes on from it where it is there and of the same training, and ends as if it had never stopped.

    **Returns:** the trained denoiser (its moving average) and the loss of every step.
    """
    order: Any = np.arange(len(samples)) if usable is None else usable
    data = _Data(samples, order, len(samples) if count is None else count, augment)
    minimised: Any = config.objective if objective is None else objective

    def run(block: int | None) -> tuple[Learned, Float[np.ndarray, " steps"]]:
        settings = config.model_copy(update={"block": block})
        return _train(denoiser, schedule, data, settings, minimised, key, report, checkpoint)

    def halved(block: int | None) -> int:
        # of several processes each would go on by itself
        rows = -(-config.batch // jax.device_count()) if jax.process_count() == 1 else 0
        return rows and rows // config.model_copy(update={"block": block}).blocks(denoiser.fast_block, rows) // 2

    return within_memory(run, config.block, halved, "training with {} samples")


@dataclass(frozen=True)
class _Data:
    """The first `count` of `samples` in an order, and what moves one of them to another that is as likely."""

    samples: Any
    order: Any
    count: int
    augment: Callable[[Any, PRNGKeyArray], Any] | None


def _train(
    denoiser: Learned,
    schedule: Schedule,
    given: _Data,
    config: TrainingConfig,
    minimised: Any,
    key: PRNGKeyArray,
    report: Callable[[int, int], None] | None,
    checkpoint: Path | None,
) -> tuple[Learned, Float[np.ndarray, " steps"]]:
    """`train`, with as many samples side by side as the settings say."""
    samples, order, n = given.samples, given.order, len(given.samples)
    weights, rest = eqx.partition(denoiser, denoiser.trainable())
    carried = minimised.init(denoiser, jax.random.fold_in(key, _STATE))
    state, losses, chunk = _begin(weights, carried, config), [], config.chunk
    same = config.model_copy(update={"block": None})  # whatever the block, training is the same
    begin, identity = 0, f"{same!r} {n} {np.asarray(jax.random.key_data(key)).tolist()}"
    if checkpoint is not None and (kept := _kept(checkpoint, state, identity)) is not None:
        (state, before), begin = kept
        losses.append(before)
    each = prod(samples.shape[1:]) * samples.dtype.itemsize
    streamed = isinstance(samples, np.ndarray) and not memory.fits(n * each)
    if streamed:
        chunk = min(chunk, max(1, next(memory.blocks(n, config.batch * each)).stop))
    fixed, data = (weights, rest, minimised, schedule), (samples, order)
    if _divided(carried):
        fixed, state, key = on_every_device((fixed, state, key))
        data = data if streamed else on_every_device(data)
    elif not streamed:
        data = (jax.device_put(samples), order)
    for start in range(begin, config.steps, chunk):
        steps = min(chunk, config.steps - start)
        # traced: Python numbers would compile the loop anew for every chunk, and for a last one that is shorter
        numbers = np.array([given.count, start, steps], np.int32)
        if streamed:
            chosen = np.asarray(order)[np.asarray(_chosen(key, numbers, chunk, config.batch)).ravel()]
            data = (np.asarray(samples[chosen]), None)
            data = on_every_device(data) if _divided(carried) else data
            memory.release()
        state, loss = _run((*fixed, *data, *numbers, key, config, given.augment), state)
        losses.append(np.asarray(loss)[:steps] if streamed else loss)
        if report is not None:
            jax.block_until_ready(loss)
            report(start + steps, config.steps)
        if checkpoint is not None:
            # a loop is reported on in whole chunks, of which the last one may be shorter
            losses = [np.concatenate([np.asarray(part) for part in losses])[: start + steps]]
            content = {"identity": identity, "done": start + steps}
            save_arrays(checkpoint, named_arrays((state, losses[0])), content, _CHECKPOINT)
    trained = _tree(weights, np.asarray(state[1] if config.ema > 0 else state[0]))
    denoiser = eqx.combine(jax.tree.map(jax.device_put, trained), rest)
    if hasattr(minimised, "finish"):
        denoiser = minimised.finish(denoiser, state[3])
    return denoiser, np.concatenate(losses)[: config.steps]


def _kept(file: Path, state: Any, identity: str) -> tuple[Any, int] | None:
    """State and losses of a training that was stopped, and its steps; None where there is none of this training."""
    if not file.is_file():
        return None
    try:
        with reading(file):
            arrays, content = load_arrays(file, _CHECKPOINT)
            if content["identity"] != identity:
                return None
            return filled((state, np.zeros(0)), arrays), int(content["done"])
    except StoreError:
        return None


def _begin(weights, carried, config):
    """Weights, their average and Adam's state, which is zero, each as one vector: updates of many small arrays take
    long to compile. Made on the host, where nothing is compiled; what the caller holds, the loop does not overwrite.
    """
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(weights)])
    moments = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(config.optimizer().init, flat))
    copied = jax.tree.map(lambda a: jnp.copy(a) if eqx.is_array(a) else a, carried)
    return jax.device_put(flat), jax.device_put(flat.copy()), jax.device_put(moments), copied


def _tree(template, flat):
    """The vector in the form of the weights."""
    leaves, form = jax.tree.flatten(template)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = [flat[end - x.size : end].reshape(x.shape).astype(x.dtype) for x, end in zip(leaves, ends, strict=True)]
    return jax.tree.unflatten(form, parts)


@eqx.filter_jit(donate="all-except-first")
def _run(fixed, state):
    """Optimiser steps in place: the memory of weights, average and moments is used again. Which samples a step has and
    their random numbers are those of its index; devices divide them, and add up their gradients.
    """
    return everywhere(partial(_steps, divided=True), fixed, state) if _divided(state[3]) else _steps(fixed, state)


@partial(jax.jit, static_argnums=(2, 3))
def _chosen(key, numbers, steps, batch):
    """Which samples the steps of a chunk have."""
    count, start, _ = numbers
    return jax.vmap(lambda index: _batch(key, index, batch, count)[0])(start + jnp.arange(steps))


def _batch(key, index, batch, count):
    """Which of `count` usable samples a step has, with replacement, and the key of its loss."""
    batch_key, loss_key = jax.random.split(jax.random.fold_in(key, index))
    return jax.random.randint(batch_key, (batch,), 0, count), loss_key


def _divided(carried: Any) -> bool:
    """Whether devices divide batches: what an objective carries on, it makes of the whole of them."""
    return jax.device_count() > 1 and not jax.tree.leaves(carried)


def _steps(fixed, state, divided=False):
    template, rest, objective, schedule, samples, usable, count, start, steps, key, config, augment = fixed
    optimizer = config.optimizer()

    def step(i, loop):
        state, losses = loop
        index = start + i
        weights, average, optimizer_state, carried = state
        chosen, loss_key = _batch(key, index, config.batch, count)
        if usable is None:  # the samples are those of these steps, one after the other
            chosen = i * config.batch + jnp.arange(config.batch)
        else:
            chosen = usable[chosen]
        keys = jax.random.split(loss_key, config.batch)
        kept = None
        if divided:
            rows, kept = own_rows(config.batch)
            chosen, keys = chosen[rows], keys[rows]
        blocks = config.blocks(rest.fast_block, len(chosen))

        def loss(weights, carried, batch, kept):
            losses, carried = objective.loss(eqx.combine(_tree(template, weights), rest), carried, batch, loss_key)
            losses = losses if kept is None else jnp.where(kept, losses, 0)
            return jnp.sum(losses) / config.batch, carried

        def add(before, block):
            total, carried = before
            x = samples[block[0]]
            if augment is not None:
                x = jax.vmap(augment)(x, jax.vmap(lambda k: jax.random.fold_in(k, _AUGMENT))(block[1]))
            batch = Batch(x, block[1], schedule, index)
            (value, carried), gradient = jax.value_and_grad(loss, has_aux=True)(weights, carried, batch, block[2])
            return (jax.tree.map(jnp.add, total, (value, gradient)), carried), None

        nothing = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), weights))
        parts = jax.tree.map(lambda a: a.reshape(blocks, -1), (chosen, keys, kept))
        ((value, gradient), carried), _ = jax.lax.scan(add, (nothing, carried), parts)
        if divided:
            value, gradient = total((value, gradient))
        update, optimizer_state = optimizer.update(gradient, optimizer_state, weights)
        weights = optax.apply_updates(weights, update)
        # the decay ramps up, so that the average forgets the start at any length of training (DDPRISM, section 5)
        decay = jnp.asarray(config.ema) ** (config.steps / (index + 1))
        average = average + (1 - decay).astype(average.dtype) * (weights - average)
        return (weights, average, optimizer_state, carried), losses.at[i].set(value)

    return jax.lax.fori_loop(0, steps, step, (state, jnp.zeros(config.chunk)))
