r"""Sequential Monte Carlo through noise levels: particles that are moved, weighed, and drawn again by their weights.

With a move :math:`x_s \sim k(x_s \mid x_t)` in place of the bridge :math:`p(x_s \mid x_t)` and potentials
:math:`\psi_t(x_t)` that stand for :math:`p(y \mid x_t)`, the weights are multiplied by

.. math:: \frac{p(x_s \mid x_t)\, \psi_s(x_s)}{k(x_s \mid x_t)\, \psi_t(x_t)} , \qquad \psi_0(x_0) = p(y \mid x_0) ,

and one particle is drawn in the end. Exact for many particles, whatever the potentials, as far as the bridge is; the
better they are, the fewer are needed. Particles are drawn again (systematically) where their effective number,
:math:`1 / \sum_k w_k^2`, falls below half of them; the smallest share on the way is reported (`Info.effective`).
"""

from abc import ABC, abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.method import Method
from dichroic.posterior.modelled import Sources
from dichroic.posterior.sampler import Sampler
from dichroic.white import WhitenedObservation

__all__ = ["Filter", "Particle", "Particles"]

_HALF = 0.5  # share of effective particles below which they are drawn again

Particle = tuple[Sources, Any, Array]  # a state, what has been evaluated there, and its log potential


class Particles(Sampled, ABC):
    """A method that moves `particles` of them for every draw, through `steps` noise levels, from pure noise always."""

    steps: PositiveInt = 24
    """Steps of a draw from pure noise."""
    particles: PositiveInt = 16
    """Kinds tds and mcgdiff: particles behind every draw."""

    @property
    def runs(self) -> tuple[int, int]:
        return self.steps, self.steps

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"steps": cold})

    def batch_size(self, shapes, n):
        usual = super().batch_size(shapes, n)
        return usual if self.batch else max(8, usual // self.particles)


class Filter(Sampler):
    """Particles of one observation."""

    levels: Float[np.ndarray, " n"]
    count: int = eqx.field(static=True)

    @abstractmethod
    def prepared(self, observation: WhitenedObservation, alike: bool) -> Any:
        """What all particles share."""

    @abstractmethod
    def first(self, target: Any, sigma: Array, key: PRNGKeyArray) -> Particle:
        """A particle at the highest level."""

    @abstractmethod
    def moved(
        self, target: Any, particle: Particle, sigma_t: Array, sigma_s: Array, key: PRNGKeyArray
    ) -> tuple[Particle, Array]:
        """A particle at the next level, and the log of the factor of its weight."""

    @abstractmethod
    def last(self, target: Any, particle: Particle, sigma_t: Array, key: PRNGKeyArray) -> tuple[Sources, Array]:
        """The sample at the end, and the log of the factor of its weight."""

    @property
    @abstractmethod
    def move_cost(self) -> Cost:
        """Of one particle at one level."""

    def draw(self, observation, last, warm, alike, *, key):
        target, K = self.prepared(observation, alike), self.count
        first_key, step_key, last_key, choice_key = jax.random.split(key, 4)
        levels = jnp.asarray(self.levels, observation.dtype)
        particles = jax.vmap(lambda key: self.first(target, levels[0], key))(jax.random.split(first_key, K))
        state = particles, particles[2], jnp.ones((), observation.dtype)

        def body(k, state):
            particles, log_w, least = state
            resample_key, move_key = jax.random.split(jax.random.fold_in(step_key, k))
            share = _effective(log_w) / K
            chosen = jnp.where(share < _HALF, _systematic(log_w, resample_key), jnp.arange(K))
            particles = jax.tree.map(lambda a: a[chosen], particles)
            kept = jnp.where(share < _HALF, jnp.zeros_like(log_w), log_w)
            move = jax.vmap(lambda p, key: self.moved(target, p, levels[k], levels[k + 1], key))
            particles, factor = move(particles, jax.random.split(move_key, K))
            return particles, kept + factor, jnp.minimum(least, share)

        particles, log_w, least = jax.lax.fori_loop(0, len(levels) - 1, body, state)
        end = jax.vmap(lambda p, key: self.last(target, p, levels[-1], key))
        x, factor = end(particles, jax.random.split(last_key, K))
        log_w = log_w + factor
        chosen = jax.random.categorical(choice_key, log_w)
        least = jnp.minimum(least, _effective(log_w) / K)
        info = Info(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), least.astype(jnp.float32))
        return jax.tree.map(lambda a: a[chosen], x), info

    def cost(self, observation, warm, alike):
        return self.move_cost * (self.count * len(self.levels))


def _effective(log_w: Float[Array, " K"]) -> Float[Array, ""]:
    """The effective number of particles, 1 to their number."""
    w = jax.nn.softmax(log_w)
    return 1 / jnp.sum(w**2)


def _systematic(log_w: Float[Array, " K"], key: PRNGKeyArray) -> Array:
    """Indices of particles drawn by their weights, at equal distances from one uniform number."""
    K = len(log_w)
    points = (jnp.arange(K) + jax.random.uniform(key, (), log_w.dtype)) / K
    return jnp.clip(jnp.searchsorted(jnp.cumsum(jax.nn.softmax(log_w)), points), 0, K - 1)
