"""The stochastic denoiser of components, which is known: what a distilled one is held against."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import ComponentsDenoiser, Prior
from dichroic.onestep.generator import Generator, Noisy
from dichroic.onestep.prior import GeneratorPrior

__all__ = ["ExactDraws", "stochastic_denoiser"]


class ExactDraws(eqx.Module):
    r"""Draws from :math:`p(x \mid x_u)`: of a component by its responsibility, and of the Gaussian it is given
    :math:`x_u`.
    """

    mixture: ComponentsDenoiser

    def sample(self, key: PRNGKeyArray, noisy: Noisy) -> Float[Array, "..."]:
        """One draw."""
        which, inside = jax.random.split(key)
        log_r, coordinates = self.mixture.responsibilities(noisy.x, noisy.sigma)
        (mu,), (root,) = self.mixture.given(coordinates, noisy.sigma, jax.random.categorical(which, log_r)[None])
        return (mu + root @ jax.random.normal(inside, mu.shape, mu.dtype)).reshape(jnp.shape(noisy.x))


def stochastic_denoiser(prior: Prior) -> Generator | ExactDraws | None:
    """What draws a source given a noisy copy: a generator with levels, or what is known of components; or None."""
    if isinstance(prior, GeneratorPrior):
        return prior.generator if prior.generator.stochastic else None
    denoiser = prior.denoiser()
    mixture = None if denoiser is None else denoiser.components()
    return None if mixture is None else ExactDraws(mixture)
