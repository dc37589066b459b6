"""Priors as something to sample: a posterior that has seen no data."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, lanczos_root
from dichroic.diffusion.denoiser import EXACT_SIZE, Denoiser
from dichroic.diffusion.moments import exact_moments
from dichroic.diffusion.sampler import Cost, MomentTarget, noise_like, pure_noise

__all__ = ["PriorTarget"]

_LANCZOS = 4


class PriorTarget(MomentTarget):
    """Independent sources, each with its own denoiser; the state is a dict of them."""

    denoisers: dict[str, Denoiser]

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        return {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}, Info.none()

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        epsilon = noise_like(key, x_t)
        return {s: _draw(denoiser, x_t[s], sigma, epsilon[s]) for s, denoiser in self.denoisers.items()}, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, {s: denoiser.shape for s, denoiser in self.denoisers.items()}, sigma)

    @property
    def mean_cost(self) -> Cost:
        return Cost(forward=1)

    @property
    def draw_cost(self) -> Cost:
        sizes = [jnp.zeros(denoiser.shape).size for denoiser in self.denoisers.values()]
        return Cost(1, max(size if size <= EXACT_SIZE else _LANCZOS for size in sizes))


def _draw(denoiser: Denoiser, x_t: Array, sigma: Array, epsilon: Array) -> Array:
    if x_t.size <= EXACT_SIZE:
        mean, _, R = exact_moments(denoiser, x_t, sigma)
        return mean + (R @ epsilon.reshape(-1)).reshape(mean.shape)
    mean, transposed = jax.vjp(lambda x: denoiser(x, sigma), x_t)

    def product(v: Array) -> Array:
        return sigma**2 * transposed(v.reshape(x_t.shape))[0].reshape(-1)

    return mean + lanczos_root(product, epsilon.reshape(-1), _LANCZOS).reshape(mean.shape)
