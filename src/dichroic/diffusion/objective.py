r"""What a denoiser is trained to minimise."""

from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, Shaped

from dichroic.diffusion.schedule import Schedule
from dichroic.kinds import OneOf, Settings

__all__ = ["OBJECTIVES", "AnyObjective", "Batch", "Denoising", "Objective"]


class Batch(eqx.Module):
    """What the loss of some samples is made from.

    **Fields:** `x`, clean samples in the units of the denoiser, or whatever else the objective is trained on; `keys`,
    one for each of them: the loss of a sample depends on its own key, not on who is beside it; `schedule`, the noise
    levels; `step`, how many optimiser steps came before.
    """

    x: Shaped[Array, "n ..."]
    keys: Key[Array, " n"]
    schedule: Schedule
    step: Array


@runtime_checkable
class Objective(Protocol):
    """A loss, with what it carries from one optimiser step to the next.

    Where it has them: `finish(denoiser, state)` makes of what was trained what is to be used; `judge(denoiser,
    schedule, x, key=key)` raises where that is not fit for use, from held-out samples; `levels` networks are trained,
    the later ones with last layers of the size `head`.
    """

    def init(self, denoiser: Any, key: PRNGKeyArray) -> Any:
        """The state before the first step, a pytree of arrays: a teacher, running means, or nothing."""
        ...

    def loss(self, denoiser: Any, state: Any, batch: Batch, key: PRNGKeyArray) -> tuple[Float[Array, " n"], Any]:
        """The loss of every sample of a batch, and the state after it.

        A batch may come in parts, one call after the other, or, where there is no state, on one device each; `key` is
        for what their samples have in common, and the same for all of them.
        """
        ...


class Denoising(Settings):
    r"""Denoising score matching, :math:`(1 + \sigma^{-2})\, \overline{(D(x + \sigma z, \sigma) - x)^2}`, the bar a mean
    over entries.

    The weight is the inverse square of what multiplies the network, so every noise level asks for outputs of the same
    size. Source: DDPRISM (arXiv 2510.05205), eq. 5; EDM.
    """

    kind: Literal["denoising"] = "denoising"

    def init(self, denoiser: Any, key: PRNGKeyArray) -> None:
        return None

    def loss(self, denoiser: Any, state: None, batch: Batch, key: PRNGKeyArray) -> tuple[Float[Array, " n"], None]:
        def one(x: Array, key: PRNGKeyArray) -> Float[Array, ""]:
            level_key, noise_key, dropout_key = jax.random.split(key, 3)
            sigma = batch.schedule.training_sigma(level_key).astype(x.dtype)
            x_t = x + sigma * jax.random.normal(noise_key, x.shape, x.dtype)
            error = denoiser(x_t, sigma, dropout_key) - x
            return (1 + sigma**-2) * jnp.mean(error**2)

        return jax.vmap(one)(batch.x, batch.keys), state


# every training objective, by the name it has in the settings
OBJECTIVES: dict[str, type[Settings]] = {"denoising": Denoising}
AnyObjective = Annotated[Settings, OneOf(OBJECTIVES, "denoising")]
