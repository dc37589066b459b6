r"""How good a score is, and what it says of an entropy."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from dichroic.score.terms import ScoreTerms

__all__ = ["alignment_ratio", "entropy_surrogate", "relative_fisher_error", "stein_ratio"]


def relative_fisher_error(score: ArrayLike, reference: ArrayLike) -> float:
    r""":math:`\mathrm E\|\hat s - s\|^2 / \mathrm E\|s\|^2`, from both at the same fresh points, shape `(n, ...)`.

    0 is perfect; a score that is zero has 1.
    """
    s_hat, s = np.asarray(score, float), np.asarray(reference, float)
    return float(np.sum((s_hat - s) ** 2) / np.sum(s**2))


def stein_ratio(score: ArrayLike, x: ArrayLike) -> float:
    r""":math:`-\mathrm E[\hat s(x) \cdot (x - \bar x)] / d`, which is 1 for the score of the law of `x`.

    It needs no truth. Where a sample was fitted to the points that it is asked at, it says nothing.
    """
    s, x = (np.asarray(a, float).reshape(len(np.asarray(a)), -1) for a in (score, x))
    return float(-np.sum(s * (x - x.mean(0))) / ((len(x) - 1) * x.shape[1]))


def alignment_ratio(terms: ScoreTerms) -> float:
    r""":math:`A / Q`: 1 where the size of a model is right, and the factor that would make it so where it is not."""
    return float(np.mean(terms.alignment) / np.mean(terms.energy))


def entropy_surrogate(score: Float[Array, "n ..."], z: Float[Array, "n ..."]) -> Float[Array, ""]:
    r"""The mean of :math:`\hat s \cdot z` with :math:`\hat s` held fixed, whose gradient is minus that of the entropy
    of `z`,

    .. math:: \nabla_\phi h(q_\phi) = -\mathrm E\big[(\partial z / \partial \phi)^\top \nabla_z \log q_\phi(z)\big] .

    Its value says nothing of the entropy: for the true score it is minus the dimension.
    """
    products = jax.lax.stop_gradient(score) * z
    return jnp.sum(products) / len(z)
