r"""Moment matching with the full covariance of every source, for sources of few dimensions.

Write :math:`V_s = R_s R_s^\top` and :math:`U = [A_1 R_1 \cdots A_S R_S]` for the whitened operators. With latents
:math:`z \sim \mathcal N(0, I)`, the sources are :math:`x = D + R z`, the data :math:`y = A D + U z + n`, and

.. math:: \mathrm E[x \mid x_t, y] = D + R\, U^\top (I + U U^\top)^{-1} (y - A D) = D + R\, (I + U^\top U)^{-1} U^\top
(y - A D),

whichever system is smaller. This is MMPS (arXiv 2405.13712) and, over several sources, DDPRISM's eq. 17; because one
and the same positive semidefinite :math:`V_s` stands on both sides of the inverse, the correction of the data is never
longer than the residual, whatever the network does.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.algebra.small import gain
from dichroic.diffusion import Cost, Denoiser, Target, exact_moments, pure_noise
from dichroic.white.observation import WhitenedObservation

__all__ = ["ExactMMPS"]


class ExactMMPS(Target):
    """The joint posterior of one observation; the state is a dict of the sources that enter it."""

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    matrices: dict[str, Float[Array, "m d"]]
    y: Float[Array, " m"]

    @classmethod
    def create(cls, denoisers: dict[str, Denoiser], observation: WhitenedObservation) -> "ExactMMPS":
        """Forms the small matrices once, for all noise levels."""
        denoisers = {s: denoisers[s] for s in observation.shapes}
        return cls(denoisers, observation, observation.matrices(), observation.y)

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        means, roots, U, residual = self._latent(x_t, sigma)
        return self._combine(means, roots, gain(U, residual)), Info.none()

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        # Matheron's rule: a prior draw, moved by the gain of what it fails to explain
        means, roots, U, residual = self._latent(x_t, sigma)
        latent_key, noise_key = jax.random.split(key)
        z = jax.random.normal(latent_key, U.shape[1:], U.dtype)
        n = jax.random.normal(noise_key, residual.shape, residual.dtype)
        return self._combine(means, roots, z + gain(U, residual - U @ z - n)), Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(1, max(A.shape[1] for A in self.matrices.values()))

    @property
    def draw_cost(self) -> Cost:
        return self.mean_cost

    def _latent(self, x_t, sigma):
        moments = {s: exact_moments(denoiser, x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        means = {s: m[0] for s, m in moments.items()}
        roots = {s: m[2] for s, m in moments.items()}
        U = jnp.concatenate([self.matrices[s] @ roots[s] for s in moments], axis=1)
        residual = self.y - sum((self.matrices[s] @ means[s].reshape(-1) for s in moments), jnp.zeros_like(self.y))
        return means, roots, U, residual

    def _combine(self, means, roots, z):
        out, begin = {}, 0
        for s, R in roots.items():
            out[s] = means[s] + (R @ z[begin : begin + len(R)]).reshape(means[s].shape)
            begin += len(R)
        return out
