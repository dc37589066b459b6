r"""A tuple of Gaussians, one of each source, chosen by its likelihood among all tuples of some candidates.

Given the noisy sources :math:`x_t`, every source has candidates :math:`\mathcal N(\mu_k, C_k)` with the weights
:math:`w_k`. A tuple :math:`\kappa` of them has, for white data, the weight

.. math:: W_\kappa = \prod_s w_{s\kappa_s}\;
    \mathcal N\Big(y;\; \sum_s A_s \mu_{s\kappa_s},\; I + \sum_s A_s C_{s\kappa_s} A_s^\top\Big) ;

one tuple is drawn by weight, and its Gaussian conditional, given the data, is drawn from.
"""

from abc import abstractmethod
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, matheron
from dichroic.algebra.small import cholesky, solve_lower, solve_spd, solve_upper
from dichroic.diffusion import MomentTarget, noise_like, pure_noise
from dichroic.white.observation import WhitenedObservation

__all__ = ["TUPLES", "Weighable", "WeighedPosterior"]

TUPLES = 4096  # weighed per draw, unless told otherwise


class Weighable(eqx.Module):
    """Candidates of one source given `x_t`: log-weights `(K,)`, means `(K, d)`, roots of covariances `(K, d, d)`."""

    log_weights: Float[Array, " K"]
    means: Float[Array, "K d"]
    roots: Float[Array, "K d d"]


class WeighedPosterior(MomentTarget):
    """The joint posterior of one observation; the state is a dict of the sources that enter it."""

    observation: WhitenedObservation
    matrices: dict[str, Float[Array, "m d"]]
    y: Float[Array, " m"]

    @abstractmethod
    def candidates(self, source: str, x_t: Array, sigma: Float[Array, ""], key: PRNGKeyArray | None) -> Weighable:
        """Candidates of one source; those of a mean, which has nothing random, where there is no key."""

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        shapes = self.observation.shapes
        candidate_key, tuple_key, latent_key, noise_key = jax.random.split(key, 4)
        keys = dict(zip(shapes, jax.random.split(candidate_key, len(shapes)), strict=True))
        chosen = {s: self.candidates(s, x_t[s], sigma, keys[s]) for s in shapes}
        log_weights, _, _ = self._weigh(chosen)
        index = jnp.argmax(log_weights + jax.random.gumbel(tuple_key, log_weights.shape, log_weights.dtype))
        parts = dict(zip(chosen, jnp.unravel_index(index.reshape(-1), log_weights.shape), strict=True))
        n = jax.random.normal(noise_key, self.y.shape, self.y.dtype)
        epsilon = noise_like(latent_key, x_t)
        drawn, columns, C = {}, {}, jnp.eye(len(self.y), dtype=self.y.dtype)
        for s, c in chosen.items():
            mu, root = c.means[parts[s][0]], c.roots[parts[s][0]]
            U = self.matrices[s] @ root
            drawn[s], columns[s], C = mu + root @ epsilon[s].reshape(-1), root @ U.T, C + U @ U.T

        def pull(r: Array) -> tuple[dict[str, Array], Info]:
            v = solve_spd(C, r)
            return {s: G @ v for s, G in columns.items()}, Info.none()

        def forward(x: dict[str, Array]) -> Array:
            return sum((self.matrices[s] @ x[s] for s in x), jnp.zeros_like(self.y))

        x, info = matheron(drawn, self.y, n, forward, pull)
        return {s: a.reshape(x_t[s].shape) for s, a in x.items()}, info

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        chosen = {s: self.candidates(s, x_t[s], sigma, None) for s in self.observation.shapes}
        log_weights, L, white = self._weigh(chosen)
        weights = jax.nn.softmax(log_weights.reshape(-1)).reshape(log_weights.shape)
        v = jax.vmap(solve_upper, (-1, -1), 0)(L, white).reshape(*weights.shape, -1)
        out = {}
        for axis, (s, c) in enumerate(chosen.items()):
            others = tuple(k for k in range(weights.ndim) if k != axis)
            share = weights.sum(others)
            pull = (weights[..., None] * v).sum(others) @ self.matrices[s]
            moved = jnp.einsum("kij,klj,kl->i", c.roots, c.roots, pull)
            out[s] = (share @ c.means + moved).reshape(x_t[s].shape)
        return out, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    def _weigh(self, chosen: Mapping[str, Weighable]) -> tuple[Array, Array, Array]:
        """Log-weights of all tuples, one axis per source; of the tuples in a row, the Cholesky factors `(m, m, T)` of
        their data covariances and the white residuals `(m, T)`.
        """
        S, m = len(chosen), len(self.y)
        log_weights, residual = jnp.zeros((), self.y.dtype), self.y[:, None]
        C = jnp.eye(m, dtype=self.y.dtype)[..., None]
        for axis, (s, c) in enumerate(chosen.items()):
            shape = [1] * S
            shape[axis] = len(c.log_weights)
            log_weights = log_weights + c.log_weights.reshape(shape)
            residual = residual.reshape(m, *log_weights.shape[:axis], *[1] * (S - axis))
            residual = residual - (self.matrices[s] @ c.means.T).reshape(m, *shape)
            U = self.matrices[s] @ c.roots
            P = jnp.moveaxis(U @ jnp.swapaxes(U, 1, 2), 0, -1)
            C = C.reshape(m, m, *log_weights.shape[:axis], *[1] * (S - axis)) + P.reshape(m, m, *shape)
        # the tuples are the last axis: entry by entry, factorisation and solution run over contiguous arrays
        L = jax.vmap(cholesky, -1, -1)(C.reshape(m, m, -1))
        white = jax.vmap(solve_lower, (-1, -1), -1)(L, residual.reshape(m, -1))
        fit = -0.5 * jnp.sum(white**2, axis=0) - jnp.log(jnp.diagonal(L)).sum(-1)
        log_weights = log_weights + fit.reshape(log_weights.shape)
        return log_weights, L, white
