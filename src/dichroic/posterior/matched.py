"""The joint posterior of one observation where sources are taken for Gaussians with the priors' moments."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, matheron
from dichroic.diffusion import Cost, MomentTarget, pure_noise
from dichroic.posterior.covariance import Covariance, Given
from dichroic.white import WhitenedObservation

__all__ = ["Moments"]


class Moments(MomentTarget):
    """The joint posterior of one observation; the state is a dict of the sources that enter it."""

    covariance: Covariance
    y: Float[Array, " m"]

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        means, pull = self.covariance.mean(x_t, sigma)
        return matheron(means, self.y, 0, self.observation.forward, pull)

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        return self.drawn(self.covariance.draw(x_t, sigma), key)

    def drawn(self, given: Given, key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        """The same, of what is known of the sources given their states."""
        latent_key, noise_key = jax.random.split(key)
        means, noise, pull, _ = given
        n = self.observation.observed * jax.random.normal(noise_key, self.y.shape, self.y.dtype)
        x = jax.tree.map(jnp.add, means, noise(latent_key))
        return matheron(x, self.y, n, self.observation.forward, pull)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def observation(self) -> WhitenedObservation:
        """What is observed."""
        return self.covariance.observation

    @property
    def mean_cost(self) -> Cost:
        return self.covariance.mean_cost

    @property
    def draw_cost(self) -> Cost:
        return self.covariance.draw_cost
