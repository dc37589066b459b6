r"""Which way a generated sample is to move, and how much it counts.

In denoisers, :math:`f_\alpha - x_t = \sigma^2 s_\alpha`, all directions are

.. math:: d = h\, \frac{f_q(x_t) - f_p(x_t)}{\overline{|x - f_p(x_t)|}} ,

the bar a mean over entries; :math:`\langle d, x \rangle` with `d` held fixed has the generator's gradient. `h` is

* `skew`: :math:`h_\alpha`, what the divergence says: it keeps what forward KL has of covering modes;
* `dmd`: 1, reverse KL (Yin et al., DMD, arXiv 2311.18828), which seeks modes;
* `adaptive`: :math:`|f_0 - f_1| / |f_0 - f_\alpha|` times :math:`h_\alpha` (Jayashankar, 8.6): with exact scores 1
  again, whatever the skew; what many skews add is then a score that is learned better, not another divergence.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Weighting", "adaptive", "toward"]

Weighting = Literal["skew", "adaptive", "dmd"]

_TINY = 1e-6  # of samples in scaled units, whose standard deviation is 1


def toward(difference: Float[Array, "..."], x: Float[Array, "..."], f_p: Float[Array, "..."]) -> Float[Array, "..."]:
    """The direction, held fixed, of a weighted difference of denoisers for a generated sample `x`; numbers that are not
    finite are zero.
    """
    d = difference / jnp.maximum(jnp.mean(jnp.abs(x - f_p)), _TINY)
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(d), d, 0.0))


def adaptive(f_0: Float[Array, "..."], f_alpha: Float[Array, "..."], f_1: Float[Array, "..."]) -> Float[Array, "..."]:
    r""":math:`(f_0 - f_\alpha)\, |f_0 - f_1| / |f_0 - f_\alpha|`, norms over entries."""
    part = f_0 - f_alpha
    size = jnp.sqrt(jnp.mean(part**2))
    return part * jnp.sqrt(jnp.mean((f_0 - f_1) ** 2)) / jnp.maximum(size, _TINY)
