"""The objective of a generator: its critic is the state, which learns a few steps for every step of the generator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dichroic.diffusion import Batch, Schedule
from dichroic.onestep.config import OneStepConfig
from dichroic.onestep.critic import Critic
from dichroic.onestep.generator import Generator, Noisy
from dichroic.onestep.ratio import generator_gan
from dichroic.onestep.skew import Skews

__all__ = ["GeneratorObjective", "karras"]

_RHO = 7.0
_TRIM = 0.02  # of the noise levels, at both ends, at which a generator is not judged


def karras(schedule: Schedule, u: Float[Array, "..."]) -> Float[Array, "..."]:
    """The level at the share `u` of the way from the lowest to the highest (Karras et al., arXiv 2206.00364, eq. 5)."""
    low, high = schedule.sigma_min ** (1 / _RHO), schedule.sigma_max ** (1 / _RHO)
    return (low + u * (high - low)) ** _RHO


class GeneratorObjective(eqx.Module):
    r"""Moves generated samples as a critic says, :math:`\langle d(x_t), x \rangle` with `d` held fixed, at random skews
    and noise levels.

    The critic learns before every step of the generator, from real and from generated samples.

    **Arguments:** `critic`, as it begins; `data`, samples of the source in scaled units; `config`; `watch`, whether the
    value of the loss is the energy distance of a batch to as many data, whose gradient is not taken; `labels`, the
    classes of the samples, of which generator and critic are told.
    """

    critic: Critic
    data: Float[Array, "n ..."]
    config: OneStepConfig = eqx.field(static=True)
    watch: bool = eqx.field(static=True, default=False)
    labels: Int[Array, " n"] | None = None

    def init(self, denoiser: Any, key: PRNGKeyArray) -> Any:
        """The critic's weights, its optimiser's state, and how many steps it has learned."""
        weights, _ = eqx.partition(self.critic, self.critic.trainable())
        moments = self.config.critic_optimizer().init(weights)
        return jax.tree.map(jnp.asarray, (weights, moments, np.zeros((), np.int32)))

    def loss(self, denoiser: Generator, state: Any, batch: Batch, key: PRNGKeyArray) -> tuple[Float[Array, " n"], Any]:
        """See `Objective`; what is in the batch says only how many samples to generate."""
        config, schedule = self.config, batch.schedule
        skews = Skews(config.low)
        fixed = jax.lax.stop_gradient(denoiser)
        _, rest = eqx.partition(self.critic, self.critic.trainable())
        optimizer = config.critic_optimizer()

        def learn(k: Array, carried: Any) -> Any:
            weights, moments, count = carried
            keys = jax.random.split(jax.random.fold_in(key, k), len(batch.keys))

            def total(weights: Any) -> Array:
                critic = eqx.combine(weights, rest)
                return jax.vmap(lambda one: self._pair(critic, fixed, schedule, one))(keys).mean()

            update, moments = optimizer.update(jax.grad(total)(weights), moments, weights)
            return optax.apply_updates(weights, update), moments, count + 1

        state = jax.lax.fori_loop(0, config.critic_steps, learn, jax.lax.stop_gradient(state))
        critic = jax.lax.stop_gradient(eqx.combine(state[0], rest))

        def one(key: PRNGKeyArray) -> Array:
            skew_key, level_key, source_key, noise_key = jax.random.split(key, 4)
            _, given, label = self._real(denoiser, schedule, source_key)
            x = denoiser.sample(jax.random.fold_in(source_key, 1), given, label)
            alpha = skews(skew_key)
            sigma = karras(schedule, jax.random.uniform(level_key, minval=_TRIM, maxval=1 - _TRIM))
            noisy = _noised(x, sigma, noise_key, label)
            d, log_ratio = critic.direction(jax.lax.stop_gradient(x), jax.lax.stop_gradient(noisy), given, alpha)
            loss = jnp.mean(d * x)
            if config.adversary:
                _, log_ratio = critic.direction(x, noisy, given, alpha)
                loss = loss + config.adversary * generator_gan(log_ratio, alpha)
            return loss

        losses = jax.vmap(one)(batch.keys)
        if self.watch:
            pairs = jax.vmap(lambda key: self._both(fixed, schedule, key))(batch.keys)
            losses = losses + jax.lax.stop_gradient(_energy(*pairs) - losses)
        return losses, state

    def _both(self, generator: Generator, schedule: Schedule, key: PRNGKeyArray) -> tuple[Array, Array]:
        """A generated sample and one of the data."""
        x, given, label = self._real(generator, schedule, key)
        return generator.sample(jax.random.fold_in(key, 1), given, label), x

    def _real(
        self, generator: Generator, schedule: Schedule, key: PRNGKeyArray
    ) -> tuple[Array, Noisy | None, Array | None]:
        """A sample of the data, the noisy copy that a stochastic generator is given, and its class."""
        pick, level, noise = jax.random.split(key, 3)
        index = jax.random.randint(pick, (), 0, len(self.data))
        x = self.data[index]
        label = None if self.labels is None else jax.nn.one_hot(self.labels[index], generator.classes)
        if not generator.stochastic:
            return x, None, label
        return x, _noised(x, karras(schedule, jax.random.uniform(level)), noise), label

    def _pair(self, critic: Critic, generator: Generator, schedule: Schedule, key: PRNGKeyArray) -> Array:
        """The critic's loss of one pair: a real and a generated sample, given the same noisy copy."""
        skew_key, level_key, source_key, draw_key, *noise_keys = jax.random.split(key, 6)
        alpha = Skews(self.config.critic_low, zero=self.config.zero)(skew_key)
        sigma = karras(schedule, jax.random.uniform(level_key))
        x_p, given, label = self._real(generator, schedule, source_key)
        x_q = generator.sample(draw_key, given, label)
        real, fake = (_noised(x, sigma, k, label) for x, k in zip((x_p, x_q), noise_keys, strict=True))
        return critic.loss((x_p, real, given), (x_q, fake, given), alpha)


def _energy(x: Float[Array, "n ..."], y: Float[Array, "n ..."]) -> Float[Array, ""]:
    """The energy distance of two batches, without bias."""
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)

    def lengths(a: Array, b: Array) -> Array:
        return jnp.sqrt(jnp.maximum(jnp.sum((a[:, None] - b) ** 2, axis=-1), 0))

    n = len(x)
    return 2 * lengths(x, y).mean() - (lengths(x, x).sum() + lengths(y, y).sum()) / (n * (n - 1))


def _noised(x: Array, sigma: Array, key: PRNGKeyArray, label: Array | None = None) -> Noisy:
    return Noisy(x + sigma * jax.random.normal(key, x.shape, x.dtype), sigma, label)
