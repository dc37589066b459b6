r"""The posterior mean of a source given data, from draws of a stochastic denoiser: no Jacobian, no product with one.

Of draws :math:`x_k \sim p(x \mid x_t)`, with the likelihood :math:`p(y \mid x)`,

.. math:: \mathrm E[x \mid x_t, y] \approx \sum_k w_k x_k, \quad w_k \propto p(y \mid x_k), \qquad \text{or} \qquad
    f + V A^\top (I + A V A^\top)^{-1} (y - A f), \quad V = \mathrm{cov}_k\, x_k + v_0 I ,

`f` the denoiser, for white data. By Tweedie's identity :math:`\sigma_t^{-2}` times the difference of either to `f` is
the score of the likelihood, :math:`\nabla_{x_t} \log p(y \mid x_t)`. The first has a bias of order `1 / K`, and few
draws count where data are precise; the second takes them for a Gaussian's.

Source: Jayashankar's thesis, 9.2.2, whose formula lacks a logarithm and a normalisation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.algebra.small import solve_spd

__all__ = ["ensemble_mean", "importance_mean", "likelihood_score"]


def importance_mean(
    x: Float[Array, "K d"], log_likelihood: Float[Array, " K"]
) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    r"""The weighted mean, and how many of the draws count, :math:`1 / \sum w_k^2`."""
    w = jax.nn.softmax(log_likelihood)
    return w @ x, 1 / jnp.sum(w**2)


def ensemble_mean(
    x: Float[Array, "K d"],
    f: Float[Array, " d"],
    y: Float[Array, " m"],
    A: Float[Array, "m d"],
    ridge: Float[Array, ""] | float = 0.0,
) -> Float[Array, " d"]:
    """The mean of the Gaussian with the covariance of the draws; `ridge` is `v_0`."""
    centred = x - x.mean(0)
    U = A @ centred.T
    # V A' and A V A', of which the first is never a matrix of the source's size
    back = centred.T @ U.T / (len(x) - 1) + ridge * A.T
    S = U @ U.T / (len(x) - 1) + ridge * A @ A.T + jnp.eye(len(y), dtype=y.dtype)
    return f + back @ solve_spd(S, y - A @ f)


def likelihood_score(
    log_likelihood: Callable[[Float[Array, "..."]], Float[Array, " K"]], x_t: Float[Array, "..."]
) -> Float[Array, "..."]:
    r""":math:`\nabla_{x_t} \log \frac1K \sum_k p(y \mid g(z_k, x_t))`, by the draws' own derivatives: what the weighted
    mean says without them.

    **Arguments:** `log_likelihood(x_t)`, of draws with noise `z_k` that stays as it is.
    """
    return jax.grad(lambda x_t: jax.nn.logsumexp(log_likelihood(x_t)))(x_t)
