"""The prior of a source from a pool of its samples, by a convolutional network."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import (
    Batch,
    DenoiserPrior,
    Denoising,
    NetworkDenoiser,
    Scaling,
    Schedule,
    measure_spread,
    principal_directions,
)
from dichroic.law.config import MixturesConfig
from dichroic.law.descent import Descent, Report, descend

__all__ = ["pool_prior"]

_RANK, _SAMPLES = 256, 256  # directions and samples that the network's errors are measured with


def pool_prior(
    pool: Float[np.ndarray, "n ..."],
    config: MixturesConfig,
    schedule: Schedule,
    scaling: Scaling,
    *,
    precise: bool,
    key: PRNGKeyArray,
    report: Report | None = None,
) -> DenoiserPrior:
    """Trains on a pool in scaled units."""
    first, second, third = jax.random.split(key, 3)
    shape = pool.shape[1:]
    network = config.network.model_copy(update={"convolution": "library"})
    denoiser = NetworkDenoiser.create(shape, network, key=first, precision="float32" if precise else "bfloat16")
    data = (jnp.asarray(pool, jnp.float32), schedule, jnp.zeros(config.batch))
    how = Descent(config.start_steps, config.rate)
    denoiser, _ = descend(denoiser, _loss, data, how, key=second, report=report)
    # samplers are loops, within which other convolutions are fast
    denoiser = replace(denoiser, network=denoiser.network.by("auto"), precision="float32")  # pyright: ignore
    basis = principal_directions(pool, _RANK)
    some = jnp.asarray(np.resize(pool, (_SAMPLES, *shape)), jnp.float32)
    spread = measure_spread(denoiser, schedule, some, jnp.asarray(basis, jnp.float32), key=third)
    return DenoiserPrior(replace(denoiser, spread=spread), schedule, scaling, {"stage": "mixtures"})


def _loss(denoiser: NetworkDenoiser, data: tuple[Array, Schedule, Array], key: PRNGKeyArray) -> Array:
    pool, schedule, batch = data
    pick, draw = jax.random.split(key)
    x = pool[jax.random.randint(pick, batch.shape, 0, len(pool))]
    made = Batch(x, jax.random.split(draw, len(batch)), schedule, jnp.zeros((), int))
    return Denoising().loss(denoiser, None, made, draw)[0].mean()
