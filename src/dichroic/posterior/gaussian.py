r"""What an observation would say if its sources were Gaussian: a closed form to build on.

For sources :math:`\mathcal N(\mu, S)`, stacked into one vector `x` with :math:`S = R R`, and white data :math:`y = A x
+ n`, write :math:`U = A R`. Then

.. math:: \mathrm E[x \mid y] = \mu + K (y - A \mu), \quad K = R U^\top (I + U U^\top)^{-1}, \qquad
    \mathrm{Cov}[x \mid y] = (I - K A)\, S\, (I - K A)^\top + K K^\top .

This posterior is a Gaussian again, so that given a noisy state as well, everything is that of a
:class:`~dichroic.diffusion.GaussianDenoiser`: one eigenbasis of the covariance serves all noise levels.
"""

from collections.abc import Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.algebra.small import cholesky, solve_lower, solve_upper, symmetric_eigen
from dichroic.diffusion import GaussianDenoiser
from dichroic.white.observation import WhitenedObservation

__all__ = ["JACOBI_SIZE", "LinearModel", "linear_model"]

JACOBI_SIZE = 32  # up to this size, dense algebra is in plain array operations, observation by observation


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
    """The model of one observation, under Gaussian stand-ins for the priors of its sources.

    The eigenproblems are of the size of all its unknowns; where observations share their operators they are solved once
    for a batch.
    """
    dtype, matrices = observation.dtype, observation.matrices()
    means, roots = [], []
    for s, shape in observation.shapes.items():
        population, d = populations[s], prod(shape)
        Q, values, rest = (jnp.asarray(a, dtype) for a in (population.basis, population.values, population.rest))
        means.append(jnp.asarray(population.mean, dtype).reshape(-1))
        roots.append((Q * (jnp.sqrt(values) - jnp.sqrt(rest))) @ Q.T + jnp.sqrt(rest) * jnp.eye(d, dtype=dtype))
    A = jnp.concatenate([matrices[s] for s in observation.shapes], axis=1)
    R = jax.scipy.linalg.block_diag(*roots)
    U = A @ R
    m, d = U.shape
    if m <= d:
        L = _factor(jnp.eye(m, dtype=dtype) + U @ U.T)
        gain = R @ _solve(L, _solve(L, U), transposed=True).T
    else:  # the smaller system is the one of the sources
        X = _solve(_factor(jnp.eye(d, dtype=dtype) + U.T @ U), R)
        gain = X.T @ (X @ A.T)
    # in coordinates that part what the data determine from what they leave open, sizes do not mix; and Joseph's form
    # of the covariance, above, has no cancellation where data are precise
    _, W = _eigen(U.T @ U)
    unseen, seen = W.T @ (R - gain @ U), W.T @ gain
    values, Q = _eigen(unseen @ unseen.T + seen @ seen.T)
    order = jnp.argsort(-values)
    return LinearModel(jnp.concatenate(means), A, gain, (W @ Q)[:, order], jnp.maximum(values, 0)[order])


def _eigen(S: Float[Array, "d d"]) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    return symmetric_eigen(S) if len(S) <= JACOBI_SIZE else jnp.linalg.eigh(S)


def _factor(C: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return cholesky(C) if len(C) <= JACOBI_SIZE else jnp.linalg.cholesky(C)


def _solve(L: Float[Array, "n n"], B: Float[Array, "n k"], transposed: bool = False) -> Float[Array, "n k"]:
    if len(L) > JACOBI_SIZE:
        return jax.scipy.linalg.solve_triangular(L, B, trans=int(transposed), lower=True)
    return jax.vmap(solve_upper if transposed else solve_lower, (None, 1), 1)(L, B)
