r"""A discriminator in the place of a critic: generative adversarial training, with noise or without.

It learns :math:`l = \log p / q` of noisy samples, and a generated one moves down :math:`\log(1 + e^{-l})`, the
non-saturating loss. Over many noise levels that is Diffusion-GAN (Wang et al., arXiv 2206.02262), at next to none a GAN
(Goodfellow et al., arXiv 1406.2661).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import NetworkConfig, trainable_in
from dichroic.onestep.critic import Critic
from dichroic.onestep.generator import Noisy
from dichroic.onestep.ratio import generator_gan, logistic
from dichroic.onestep.stacked import Stacked

__all__ = ["Discriminator"]


class Discriminator(Critic):
    """Of plain generators: there is no noisy copy that is given."""

    network: Stacked

    @classmethod
    def create(cls, shape: tuple[int, ...], config: NetworkConfig, *, key: PRNGKeyArray) -> "Discriminator":
        """With a fresh network, for which all samples are alike."""
        return cls(Stacked.create(config, shape, numbers=1, key=key))

    def trainable(self) -> "Discriminator":
        return trainable_in(self, lambda c: c.network)

    def __call__(self, noisy: Noisy) -> Float[Array, ""]:
        """The log-ratio."""
        return self.network([noisy.scaled], jnp.zeros(1), noisy.sigma)[1]

    def direction(self, x, noisy, given, alpha):
        def loss(x_t: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
            log_ratio = self(Noisy(x_t, noisy.sigma))
            return generator_gan(log_ratio, 0.5), log_ratio

        d, log_ratio = jax.grad(loss, has_aux=True)(noisy.x)
        return jax.lax.stop_gradient(d), log_ratio

    def loss(self, real, fake, alpha):
        return logistic(self(real[1]), self(fake[1]), 0.5)
