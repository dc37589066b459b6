r"""Noise that is Gaussian given its variance, seen about a mean that is not known itself."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["mean_precision"]

_LOGS = (-16.0, 4.0)  # of precisions, in units in which that of the noise is about one
_NODES = 128


def mean_precision(square: Any, v: Any, parts: int, log_density: Callable[[Array], Array]) -> Array:
    r""":math:`\mathrm E[w \mid y]` of :math:`y = m + \epsilon`, :math:`m \sim \mathcal N(\bar m, v)`,
    :math:`\epsilon \sim \mathcal N(0, 1/w)`,

    .. math:: p(w \mid y) \propto p(w)\, (v + 1/w)^{-p/2} \exp\Big(-\frac{|y - \bar m|^2}{2 (v + 1/w)}\Big) ,

    by quadrature over :math:`\log w`: a value far off is an outlier only where `v` does not account for it.

    **Arguments:** `square`, :math:`|y - \bar m|^2`; `parts`, `p`; `log_density(w)`, :math:`\log p(w)` up to a constant.
    """
    w = jnp.exp(jnp.linspace(*_LOGS, _NODES))
    total = jnp.asarray(v)[..., None] + 1 / w
    log = log_density(w) + jnp.log(w) - parts / 2 * jnp.log(total) - jnp.asarray(square)[..., None] / (2 * total)
    return jnp.sum(jax.nn.softmax(log, axis=-1) * w, axis=-1)
