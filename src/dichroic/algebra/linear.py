r"""The linear-Gaussian model :math:`y = A x + n`, :math:`x \sim \mathcal N(\mu, S)`, in white data:
:math:`n \sim \mathcal N(0, I)`.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.algebra.small import cholesky, solve_lower, solve_upper

__all__ = ["JACOBI_SIZE", "conditional", "matheron", "root"]

JACOBI_SIZE = 32  # up to this size, compiled dense algebra is in plain array operations, observation by observation

Tree = TypeVar("Tree")


def matheron(
    x: Tree, y: Any, n: Any, forward: Callable[[Tree], Any], pull: Callable[[Any], tuple[Tree, Any]]
) -> tuple[Tree, Any]:
    r"""A draw of the posterior from one of the prior, by Matheron's rule,

    .. math:: x + S A^\top (I + A S A^\top)^{-1} (y - A x - n) .

    The posterior's mean is what becomes of the prior's with a noise of zero.

    Nothing is known of `A` and `S` but two functions, so that one line serves matrices, products alone, latents
    (:math:`A R z` with :math:`S = R R^\top`), single observations and batches, NumPy and JAX::

        matheron(z, r, n, lambda z: U @ z, lambda r: (gain(U, r), Info.none()))                # U = A R, r = y - A mu
        matheron(x, w.y, n, w.forward, lambda r: conjugate_gradient(product, r, zero, 50))     # w, an observation
        matheron(x, y, n, lambda x: x @ A.T, lambda r: (cho_solve(L, r.T).T @ A @ S, None))    # rows are observations

    **Arguments:** `x`, a draw of the prior, an array or a tree of them; `y`, the data; `n`, a draw of the noise, or
    zero; `forward(x)`, :math:`A x`; `pull(r)`, :math:`S A^\top (I + A S A^\top)^{-1} r`, a tree like `x`, and what
    the solver has to say (as a rule an `Info`).

    **Returns:** the draw, and what the solver had to say.

    Source: Hoffman and Ribak 1991, ApJ 380, L5; Wilson et al., arXiv 2011.04026, eq. 8.
    """
    moved, info = pull(y - forward(x) - n)
    return jax.tree.map(operator.add, x, moved), info


def conditional(R: Any, U: Any) -> tuple[Any, Any]:
    r"""What data say about :math:`x = \mu + R z`, :math:`z \sim \mathcal N(0, I)`: with :math:`U = A R`,

    .. math:: \mathrm E[x \mid y] = \mu + K (y - A \mu), \quad
        K = R U^\top (I + U U^\top)^{-1} = R (I + U^\top U)^{-1} U^\top, \qquad
        \mathrm{Cov}[x \mid y] = T T^\top, \quad T = [R - K U, \; K] .

    The smaller of the two systems is solved; and the covariance in Joseph's form, of which `T` is the root, has no
    cancellation where data are precise.

    **Arguments:** `R`, shape `(..., d, k)`, and `U`, `(..., m, k)`: of JAX, or stacks of NumPy.

    **Returns:** the gain `K`, `(..., d, m)`, and `T`, `(..., d, k + m)`.
    """
    xp, Ut = (np if isinstance(U, np.ndarray) else jnp), U.swapaxes(-1, -2)
    m, k = U.shape[-2:]
    if m <= k:
        K = R @ _solve(xp.eye(m, dtype=U.dtype) + U @ Ut, U).swapaxes(-1, -2)
    else:
        K = R @ _solve(xp.eye(k, dtype=U.dtype) + Ut @ U, Ut)
    return K, xp.concatenate([R - K @ U, K], -1)


def _solve(C: Any, B: Any) -> Any:
    """The `X` with `C X = B`, for symmetric positive definite `C`."""
    if isinstance(C, np.ndarray):
        return np.linalg.solve(C, B)
    if len(C) > JACOBI_SIZE:
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(C), True), B)
    L = cholesky(C)
    return jax.vmap(lambda b: solve_upper(L, solve_lower(L, b)), 1, 1)(B)


def root(S: np.ndarray) -> np.ndarray:
    r"""An `R` with :math:`R R^\top = S`, of a positive semidefinite matrix or of a stack of them."""
    values, basis = np.linalg.eigh(S)
    return basis * np.sqrt(np.maximum(values, 0))[..., None, :]
