r"""Principal directions of a score: the leading eigenvectors of :math:`C = \mathrm E[s s^\top]`.

Of all expansions in `L` functions with constant coefficients, :math:`U U^\top s` with the `L` leading eigenvectors is
the best one, and its error is the sum of the other eigenvalues: a floor for every kernel method of that order. For
:math:`\mathcal N(0, \Sigma)` the matrix is :math:`\Sigma^{-1}`: these are directions of the *smallest* variance, the
tightest constraints of a law, and of data near a subspace they are the normals of it. Less than all of them are no
prior. Source: Jayashankar (2025), chapter 3, theorems 3.1 to 3.3.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from dichroic.score.terms import Field, ScoreTerms

__all__ = ["PrincipalDirectionScore", "directional_terms", "score_covariance", "tweedie_score"]


class PrincipalDirectionScore(eqx.Module):
    r""":math:`V V^\top g(x)`, for samples that are vectors: `basis` is `V`, shape `(d, L)`, `network` is `g`."""

    basis: Float[Array, "d L"]
    network: Callable

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.basis @ (self.basis.T @ self.network(x))


def directional_terms(
    f: PrincipalDirectionScore, x: Float[Array, "n d"], *, nesting: ArrayLike | None = None
) -> ScoreTerms:
    r""":math:`a = -\sum_\ell v_\ell^\top J_g v_\ell`: `L` products, and no random directions.

    Without `nesting` only the span of the directions is learned. With positive weights :math:`w_\ell` the loss is
    :math:`\sum_\ell w_\ell L(V_{1:\ell}, g)`, which orders them,

    .. math:: a = -\sum_i m_i v_i^\top J_g v_i, \quad q = \sum_{ij} \min(m_i, m_j)\, c_i c_j\, v_i \cdot v_j, \quad
        m_i = \sum_{\ell \ge i} w_\ell, \; c = V^\top g .
    """
    V = f.basis
    m = jnp.ones(V.shape[1], V.dtype) if nesting is None else jnp.cumsum(jnp.asarray(nesting)[::-1])[::-1]
    gram = jnp.minimum(m[:, None], m[None, :]) * (V.T @ V)

    def one(x: Array) -> Any:
        g, along = jax.linearize(f.network, x)
        slopes = jnp.sum(V * jax.vmap(along, in_axes=1, out_axes=1)(V), axis=0)
        c = V.T @ g
        return -(m @ slopes) / x.size, c @ gram @ c / x.size, V @ c

    return ScoreTerms(*jax.vmap(one)(x))


def score_covariance(
    scores: ArrayLike, rank: int | None = None
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, "d r"]]:
    """The leading eigenvalues of the mean of :math:`s s^T` and their eigenvectors, the directions in which a law is
    the tightest.

    **Arguments:** `scores`, at samples of the law, shape `(n, ...)`, whatever they come from; `rank`, how many
    (default: all).

    **Returns:** eigenvalues, largest first, shape `(r,)`; eigenvectors as columns, shape `(d, r)`.
    """
    s = np.asarray(scores, float)
    s = s.reshape(len(s), -1)
    values, vectors = np.linalg.eigh(s.T @ s / len(s))
    return values[::-1][:rank], vectors[:, ::-1][:, :rank]


def tweedie_score(denoiser: Callable, sigma: ArrayLike) -> Field:
    r"""The score of the noisy law that a denoiser knows, :math:`s_\sigma(x) = (D(x, \sigma) - x) / \sigma^2`."""

    def score(x: Float[Array, "..."]) -> Float[Array, "..."]:
        level = jnp.asarray(sigma, x.dtype)
        return (denoiser(x, level) - x) / level**2

    return score
