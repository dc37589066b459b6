r"""How the log-ratio :math:`l = \log p / q` of data and generator is learned.

Of pairs of a real and a generated sample at a skew :math:`\alpha`, with :math:`D = D_\alpha(l)`, each is smallest on
average for the true ratio, at every skew:

* `logistic`: :math:`-\alpha \log D(x^p) - (1 - \alpha) \log(1 - D(x^q))`, a discriminator's loss;
* `lecam`: :math:`\alpha (1 - D(x^p))^2 + (1 - \alpha) D(x^q)^2`; its minimum is
  :math:`\alpha (1 - \alpha) (1 - D_{LC})` with the Le Cam divergence :math:`D_{LC} = 1 - \int p q / m_\alpha`;
* `regression`: the same times :math:`\lambda |f_p - f_q|^2`, which is the regression of the denoiser of the mixture on
  the two denoisers.

Source: Jayashankar's thesis, (8.8), 8.3 and appendix 8.B; the offset of the skew, which the published code lacks, is in
all of them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.onestep.skew import logit, share

__all__ = ["generator_gan", "lecam", "logistic"]


def logistic(l_p: Float[Array, "*n"], l_q: Float[Array, "*n"], alpha: Float[Array, ""] | float) -> Float[Array, "*n"]:
    """Of the log-ratios at a real and at a generated sample."""
    real, fake = jax.nn.softplus(-l_p - logit(alpha)), jax.nn.softplus(l_q + logit(alpha))
    return alpha * real + (1 - alpha) * fake


def lecam(
    l_p: Float[Array, "*n"],
    l_q: Float[Array, "*n"],
    alpha: Float[Array, ""] | float,
    weight_p: Float[Array, "*n"] | float = 1.0,
    weight_q: Float[Array, "*n"] | float = 1.0,
) -> Float[Array, "*n"]:
    """Of the log-ratios at a real and at a generated sample; weighted, the regression."""
    real, fake = (1 - share(l_p, alpha)) ** 2, share(l_q, alpha) ** 2
    return alpha * weight_p * real + (1 - alpha) * weight_q * fake


def generator_gan(l_q: Float[Array, "*n"], alpha: Float[Array, ""] | float) -> Float[Array, "*n"]:
    """What a generator minimises against a discriminator: minus the logarithm of the share, nothing at skew 1."""
    return jnp.where(alpha >= 1, 0.0, jax.nn.softplus(-l_q - logit(alpha)))
