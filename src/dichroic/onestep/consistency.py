r"""Consistency training: a map from a noisy sample to where the probability flow begins, in one evaluation.

.. math:: f(x_t, \sigma) = \frac{x_t}{(\sigma - \sigma_0)^2 + 1}
    + \frac{\sigma - \sigma_0}{\sqrt{1 + \sigma^2}}\, F\Big(\frac{x_t}{\sqrt{1 + \sigma^2}}, \log \sigma\Big) ,

which is :math:`x_t` at the lowest level :math:`\sigma_0`, is to be the same at neighbouring levels of the same noise.
The levels get denser in training, from 10 to 640 between the ends. Source: Song et al., arXiv 2303.01469; the loss
without a metric and the doubling levels, Song and Dhariwal, arXiv 2310.14189.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Batch, NetworkConfig, Schedule, TrainingConfig, train, trainable_in
from dichroic.onestep.objective import karras
from dichroic.onestep.stacked import Stacked

__all__ = ["Consistency", "train_consistency"]

_FIRST, _DOUBLINGS = 10, 6  # noise levels at the beginning, and how often there are twice as many
_HUBER = 0.00054  # length, per root of the number of entries, from which on the loss is not squared


class Consistency(eqx.Module):
    """Of one source, in scaled units."""

    network: Stacked
    schedule: Schedule

    @property
    def shape(self) -> tuple[int, ...]:
        return self.network.shape

    @property
    def fast_block(self) -> int | None:
        return None

    def trainable(self) -> "Consistency":
        return trainable_in(self, lambda c: c.network)

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        """Where the flow through `x_t` begins."""
        spread, above = jnp.sqrt(1 + sigma**2), sigma - self.schedule.sigma_min
        F, _ = self.network([x_t / spread], None, sigma)
        return x_t / (above**2 + 1) + above / spread * F

    def chain(self, key: PRNGKeyArray, levels: Float[Array, " k"]) -> Float[Array, "..."]:
        """A draw in as many evaluations as there are falling levels, noised anew at each of them."""

        def step(x: Array, turn: tuple[Array, PRNGKeyArray]) -> tuple[Array, None]:
            sigma, key = turn
            return self(x + sigma * jax.random.normal(key, x.shape, x.dtype), sigma), None

        turns = jnp.asarray(levels, jnp.float32), jax.random.split(key, len(levels))
        return jax.lax.scan(step, jnp.zeros(self.shape, jnp.float32), turns)[0]


class _Neighbours(eqx.Module):
    """The objective; its state is the number of steps done."""

    steps: int = eqx.field(static=True)

    def init(self, denoiser: Any, key: PRNGKeyArray) -> Array:
        return jnp.zeros((), jnp.int32)

    def loss(
        self, denoiser: Consistency, state: Array, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, " n"], Array]:
        count = _FIRST * 2 ** jnp.minimum(state * (_DOUBLINGS + 1) // self.steps, _DOUBLINGS)
        huber = _HUBER * np.prod(denoiser.shape) ** 0.5

        def one(x: Array, key: PRNGKeyArray) -> Float[Array, ""]:
            level_key, noise_key = jax.random.split(key)
            i = jax.random.randint(level_key, (), 0, count)
            low, high = (karras(batch.schedule, (i + k) / count) for k in (0, 1))
            e = jax.random.normal(noise_key, x.shape, x.dtype)
            gap = denoiser(x + high * e, high) - jax.lax.stop_gradient(denoiser(x + low * e, low))
            return (jnp.sqrt(jnp.sum(gap**2) + huber**2) - huber) / (high - low)

        return jax.vmap(one)(batch.x, batch.keys), state + 1


def train_consistency(
    data: Float[np.ndarray, "n ..."],
    network: NetworkConfig,
    config: TrainingConfig,
    schedule: Schedule,
    *,
    key: PRNGKeyArray,
) -> tuple[Consistency, Float[np.ndarray, " steps"]]:
    """A consistency model from samples alone, in scaled units, and the loss of every step."""
    begin = Consistency(Stacked.create(network, data.shape[1:], key=key, out_scale=1.0), schedule)
    samples = jax.device_put(np.asarray(data, np.float32))
    return train(begin, schedule, samples, config, key=key, objective=_Neighbours(config.steps))
