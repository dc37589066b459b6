r"""What a denoiser is trained to minimise, for one clean sample."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.network import NetworkDenoiser
from dichroic.diffusion.schedule import Schedule

__all__ = ["OBJECTIVES", "Objective", "denoising_score_matching"]

Objective = Callable[[NetworkDenoiser, Schedule, Array, PRNGKeyArray], Float[Array, ""]]


def denoising_score_matching(
    denoiser: NetworkDenoiser, schedule: Schedule, x: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, ""]:
    r""":math:`(1 + \sigma^{-2})\, \overline{(D(x + \sigma z, \sigma) - x)^2}`, the bar a mean over entries.

    The weight is the inverse square of what multiplies the network, so every noise level asks for outputs of the same
    size. Source: DDPRISM (arXiv 2510.05205), eq. 5; EDM.
    """
    level_key, noise_key, dropout_key = jax.random.split(key, 3)
    sigma = schedule.training_sigma(level_key).astype(x.dtype)
    x_t = x + sigma * jax.random.normal(noise_key, x.shape, x.dtype)
    error = denoiser(x_t, sigma, dropout_key) - x
    return (1 + sigma**-2) * jnp.mean(error**2)


# every training objective, by the name it has in the settings
OBJECTIVES: dict[str, Objective] = {"denoising": denoising_score_matching}
