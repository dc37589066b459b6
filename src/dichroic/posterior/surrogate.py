r"""Moment matching with a measured covariance in place of the network's Jacobian.

The mean of :math:`p(x_0 \mid x_t)` is the network's; its covariance is the mean of the true ones at that noise level,
the covariance of the denoiser's error (`dichroic.diffusion.Spread`; for a Gaussian prior, its exact posterior
covariance). It is positive by construction, costs no product with a Jacobian, and depends on the noise level alone:
where all observations share their operators, so does the whole Kalman gain. Trained networks of many inputs have
Jacobians so far from symmetric and positive that this beats them. Exact for Gaussian sources. It goes back to the
`cov_x` variant of DiEM (arXiv 2405.13712), which has the Gaussian population's covariance there instead.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, conjugate_gradient
from dichroic.diffusion import Cost, Denoiser, Target, noise_like, pure_noise
from dichroic.white.observation import WhitenedObservation

__all__ = ["SurrogateMMPS"]

_ITERATIONS = 64  # of the solver where operators differ: its products are thin, and no network is in them


class SurrogateMMPS(Target):
    """The joint posterior of one observation; the state is a dict of the sources that enter it.

    **Arguments:** `shared`, whether all observations of a batch have the same operators, noise and mask: one matrix is
    then factorised per noise level for all of them.
    """

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    y: Float[Array, " m"]
    matrices: dict[str, Float[Array, "m d"]] | None
    shared: bool = eqx.field(static=True)

    @classmethod
    def create(
        cls, denoisers: Mapping[str, Denoiser], observation: WhitenedObservation, shared: bool = False
    ) -> "SurrogateMMPS":
        """Whitens the data once, for all noise levels.

        **Raises:** `ValueError` for a denoiser that carries no covariance.
        """
        chosen = {s: denoisers[s] for s in observation.shapes}
        bare = [s for s, denoiser in chosen.items() if denoiser.moments_given(jnp.ones(())) is None]
        if bare:
            raise ValueError(
                f"the surrogate posterior needs a covariance for source {bare[0]!r}, and its prior has none"
            )
        matrices = observation.matrices() if shared else None
        return cls(chosen, observation, observation.y, matrices, shared)  # pyright: ignore

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        means = {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        return self._shift(means, sigma, self.y)

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        latent_key, noise_key = jax.random.split(key)
        epsilon = noise_like(latent_key, x_t)
        drawn = {
            s: denoiser(x_t[s], sigma) + self._root(s, epsilon[s], sigma) for s, denoiser in self.denoisers.items()
        }
        n = jax.random.normal(noise_key, self.y.shape, self.y.dtype)
        return self._shift(drawn, sigma, self.y - self.observation.observed * n)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(forward=1)

    @property
    def draw_cost(self) -> Cost:
        return Cost(forward=1)

    def _root(self, source: str, epsilon: Array, sigma: Array) -> Array:
        basis, values, rest = self.denoisers[source].moments_given(sigma)  # pyright: ignore
        flat = epsilon.reshape(-1)
        leading = basis @ ((jnp.sqrt(values) - jnp.sqrt(rest)) * (basis.T @ flat))
        return (leading + jnp.sqrt(rest) * flat).reshape(epsilon.shape)

    def _covariance(self, source: str, u: Array, sigma: Array) -> Array:
        basis, values, rest = self.denoisers[source].moments_given(sigma)  # pyright: ignore
        flat = u.reshape(-1)
        return (basis @ ((values - rest) * (basis.T @ flat)) + rest * flat).reshape(u.shape)

    def _shift(self, x: dict[str, Array], sigma: Array, y: Array) -> tuple[dict[str, Array], Info]:
        """Moves `x` by the Kalman gain of its residual."""
        residual = y - self.observation.forward(x)
        if self.matrices is not None:
            v, info = self._solve_shared(residual, sigma)
            moved = {s: self._covariance(s, u, sigma) for s, u in self.observation.adjoint(v).items()}
        else:

            def product(p: Array) -> tuple[Array, dict[str, Array]]:
                w = {s: self._covariance(s, u, sigma) for s, u in self.observation.adjoint(p).items()}
                return p + self.observation.forward(w), w

            moved, info = conjugate_gradient(product, residual, jax.tree.map(jnp.zeros_like, x), _ITERATIONS)
        return jax.tree.map(jnp.add, x, moved), info

    def _solve_shared(self, residual: Array, sigma: Array) -> tuple[Array, Info]:
        # nothing here but the residual differs between observations, so under vmap the factorisation is done once
        assert self.matrices is not None
        C = jnp.eye(self.y.size, dtype=self.y.dtype)
        for s, A in self.matrices.items():
            basis, values, rest = self.denoisers[s].moments_given(sigma)  # pyright: ignore
            AQ = A @ basis
            C = C + (AQ * (values - rest)) @ AQ.T + rest * (A @ A.T)
        inverse = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(C), True), jnp.eye(len(C), dtype=C.dtype))
        v = inverse @ residual
        v = v + inverse @ (
            residual - C @ v
        )  # one refinement: the condition can reach the inverse of float32's precision
        norm = jnp.linalg.norm(residual)
        error = jnp.linalg.norm(residual - C @ v) / jnp.maximum(norm, jnp.finfo(C.dtype).tiny)
        return v, Info(error.astype(jnp.float32), jnp.zeros((), jnp.int32))
