r"""The Gaussian with the moments of :math:`p(x_0 \mid x_t)`.

Its mean is the denoiser's output and its covariance :math:`V = \sigma_t^2 J`, `J` the denoiser's Jacobian (Tweedie).
The Jacobian of a learned network is neither symmetric nor positive; whatever uses `V` uses the *same* symmetrised and
positive semidefinite matrix everywhere, or posterior draws diverge.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.diffusion.denoiser import Denoiser
from dichroic.linalg import psd_part, symmetric_eigen

__all__ = ["exact_moments", "lanczos_root"]


def exact_moments(
    denoiser: Denoiser, x_t: Float[Array, "..."], sigma: Float[Array, ""]
) -> tuple[Float[Array, "..."], Float[Array, "d d"], Float[Array, "d d"]]:
    r"""Mean, covariance and a root of it, from the full Jacobian: one forward pass and `d` transposed products.

    **Returns:** the mean with the shape of `x_t`, `V` and `R` with :math:`V = R R^\top`, both `(d, d)`.
    """
    mean, transposed = jax.vjp(lambda x: denoiser(x, sigma), x_t)
    units = jnp.eye(x_t.size, dtype=x_t.dtype).reshape(x_t.size, *x_t.shape)
    jacobian = jax.vmap(lambda e: transposed(e)[0].reshape(-1))(units)
    V, R = psd_part(sigma**2 * jacobian)
    return mean, V, R


def lanczos_root(
    product: Callable[[Float[Array, " d"]], Float[Array, " d"]], epsilon: Float[Array, " d"], iterations: int
) -> Float[Array, " d"]:
    r"""Approximates :math:`V^{1/2} \epsilon` from `iterations` products with a symmetric `V`.

    .. math:: V^{1/2} \epsilon \approx \|\epsilon\|\, K_k T_k^{1/2} e_1

    with the Lanczos basis :math:`K_k` started at `epsilon` and the tridiagonal :math:`T_k = K_k^\top V K_k`, whose
    negative eigenvalues are set to zero. The basis is orthogonalised in full: few vectors, and float32.
    """
    norm = jnp.linalg.norm(epsilon)
    basis = [epsilon / norm]
    columns = []
    for k in range(iterations):
        column = product(basis[k])
        columns.append(column)
        if k + 1 < iterations:
            K = jnp.stack(basis)
            rest = column - K.T @ (K @ column)
            rest = rest - K.T @ (K @ rest)
            length = jnp.linalg.norm(rest)
            # an invariant subspace: a zero vector adds nothing to the projected matrix
            basis.append(jnp.where(length > 1e-6 * jnp.linalg.norm(column), rest / jnp.maximum(length, 1e-30), 0))
    K = jnp.stack(basis)
    T = K @ jnp.stack(columns).T
    w, Q = symmetric_eigen((T + T.T) / 2)
    return norm * K.T @ (Q @ (jnp.sqrt(jnp.maximum(w, 0)) * Q[0]))
