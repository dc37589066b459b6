r"""The linear-Gaussian model :math:`y = A x + n`, :math:`x \sim \mathcal N(\mu, S)`, in white data:
:math:`n \sim \mathcal N(0, I)`.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["matheron"]

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
