r"""Moment matching without matrices, for images.

The system :math:`C v = y - A D`, :math:`C = I + \sum_s A_s V_s A_s^\top` (whitened), is solved by a few conjugate
gradient iterations, each one transposed product :math:`V_s u = \sigma_t^2 J_s^\top u` per source. The correction
:math:`V_s A_s^\top v` is accumulated from the products the solver makes anyway, so there is none before the first
iteration and none after the last. Source: MMPS (arXiv 2405.13712); DDPRISM (arXiv 2510.05205), eq. 17.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, conjugate_gradient, lanczos_root
from dichroic.diffusion import Cost, Denoiser, Target, noise_like, pure_noise
from dichroic.white.observation import WhitenedObservation

__all__ = ["KrylovMMPS"]


class KrylovMMPS(Target):
    """The joint posterior of one observation; the state is a dict of the sources that enter it.

    **Arguments:** `iterations`, of the solver; `root_iterations`, of the Lanczos square root that `draw` needs.
    """

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    y: Float[Array, " m"]
    iterations: int = eqx.field(static=True)
    root_iterations: int = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        denoisers: dict[str, Denoiser],
        observation: WhitenedObservation,
        iterations: int = 3,
        root_iterations: int = 3,
    ) -> "KrylovMMPS":
        """Whitens the data once, for all noise levels."""
        denoisers = {s: denoisers[s] for s in observation.shapes}
        return cls(denoisers, observation, observation.y, iterations, root_iterations)

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        means, covariance = self._linearise(x_t, sigma)
        return self._shift(means, covariance, self.y)

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        means, covariance = self._linearise(x_t, sigma)
        root_key, noise_key = jax.random.split(key)
        epsilon = noise_like(root_key, x_t)
        drawn = {}
        for s, m in means.items():

            def product(v: Array, s: str = s) -> Array:
                return covariance[s](v.reshape(x_t[s].shape)).reshape(-1)

            root = lanczos_root(product, epsilon[s].reshape(-1), self.root_iterations)
            drawn[s] = m + root.reshape(m.shape)
        n = jax.random.normal(noise_key, self.y.shape, self.y.dtype) * self.observation.observed
        return self._shift(drawn, covariance, self.y - n)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(1, self.iterations)

    @property
    def draw_cost(self) -> Cost:
        return Cost(1, self.iterations + self.root_iterations)

    def _linearise(self, x_t, sigma):
        means: dict[str, Array] = {}
        covariance: dict[str, Callable[[Array], Array]] = {}
        for s, denoiser in self.denoisers.items():
            means[s], transposed = jax.vjp(lambda x, d=denoiser: d(x, sigma), x_t[s])
            covariance[s] = lambda u, t=transposed: sigma**2 * t(u)[0]
        return means, covariance

    def _shift(self, x, covariance, y):
        """Moves `x` by the Kalman gain of its residual."""

        def product(v: Array) -> tuple[Array, dict[str, Array]]:
            moved = {s: covariance[s](u) for s, u in self.observation.adjoint(v).items()}
            return v + self.observation.forward(moved), moved

        residual = y - self.observation.forward(x)
        zero = jax.tree.map(jnp.zeros_like, x)
        moved, info = conjugate_gradient(product, residual, zero, self.iterations)
        return jax.tree.map(jnp.add, x, moved), info
