r"""What an observation would say if its sources were Gaussian: a closed form to build on.

The posterior of the stacked sources (:func:`~dichroic.algebra.conditional`) is a Gaussian again, so that given a noisy
state as well, everything is that of a :class:`~dichroic.diffusion.GaussianDenoiser`: one eigenbasis of the covariance
serves all noise levels.
"""

from collections.abc import Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.algebra.linear import JACOBI_SIZE, conditional
from dichroic.algebra.small import symmetric_eigen
from dichroic.diffusion import GaussianDenoiser
from dichroic.white.observation import WhitenedObservation

__all__ = ["LinearModel", "linear_model"]


class LinearModel(eqx.Module):
    """Operators of one observation and what Gaussian sources of mean `mu` make of its data.

    **Arguments:** `A`, of all sources side by side, whitened; `gain`, what the mean moves by per unit of residual;
    `basis` and `values`, of the covariance given the data, largest first.
    """

    mu: Float[Array, " d"]
    A: Float[Array, "m d"]
    gain: Float[Array, "d m"]
    basis: Float[Array, "d d"]
    values: Float[Array, " d"]

    def posterior(self, y: Float[Array, " m"]) -> GaussianDenoiser:
        """The posterior given the data, as the denoiser of the stacked sources."""
        mean = self.mu + self.gain @ (y - self.A @ self.mu)
        return GaussianDenoiser(mean, self.basis, self.values, jnp.zeros((), mean.dtype))


def linear_model(populations: Mapping[str, GaussianDenoiser], observation: WhitenedObservation) -> LinearModel:
    """The model of one observation, under Gaussian stand-ins for the priors of its sources, which are stacked in the
    order of their names: within compiled programs a dict has no other.

    The eigenproblems are of the size of all its unknowns; where observations share their operators they are solved once
    for a batch.
    """
    dtype, matrices = observation.dtype, observation.matrices()
    means, roots = [], []
    shapes = dict(sorted(observation.shapes.items()))
    for s, shape in shapes.items():
        population, d = populations[s], prod(shape)
        Q, values, rest = (jnp.asarray(a, dtype) for a in (population.basis, population.values, population.rest))
        means.append(jnp.asarray(population.mean, dtype).reshape(-1))
        roots.append((Q * (jnp.sqrt(values) - jnp.sqrt(rest))) @ Q.T + jnp.sqrt(rest) * jnp.eye(d, dtype=dtype))
    A = jnp.concatenate([matrices[s] for s in shapes], axis=1)
    R = jax.scipy.linalg.block_diag(*roots)
    U = A @ R
    gain, T = conditional(R, U)
    # in coordinates that part what the data determine from what they leave open, sizes do not mix
    _, W = _eigen(U.T @ U)
    T = W.T @ T
    values, Q = _eigen(T @ T.T)
    order = jnp.argsort(-values)
    return LinearModel(jnp.concatenate(means), A, gain, (W @ Q)[:, order], jnp.maximum(values, 0)[order])


def _eigen(S: Float[Array, "d d"]) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    return symmetric_eigen(S) if len(S) <= JACOBI_SIZE else jnp.linalg.eigh(S)
