r"""The Gaussian with the moments of :math:`p(x_0 \mid x_t)`.

Its mean is the denoiser's output and its covariance :math:`V = \sigma_t^2 J`, `J` the denoiser's Jacobian (Tweedie).
The Jacobian of a learned network is neither symmetric nor positive; whatever uses `V` uses the *same* symmetrised and
positive semidefinite matrix everywhere, or posterior draws diverge.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.algebra import psd_part
from dichroic.diffusion.denoiser import Denoiser

__all__ = ["exact_moments"]


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
