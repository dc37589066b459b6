"""A Gaussian point spread function, whose width may be unknown."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic.operators.base import Operator, Waves
from dichroic.operators.unknown import Unknown

__all__ = ["GaussianBlur"]

_TURNS = 2  # of a periodic axis on either side: wider blurs leave nothing but the mean
_SUM = 64  # pixels on either side over which the weights sum to one


class GaussianBlur(Operator):
    r"""Convolution with :math:`k_j \propto e^{-j^2 / 2 w^2}`, :math:`\sum_j k_j = 1`, along the first `axes` axes.

    **Arguments:** `width`, `w`, the standard deviation in pixels (`Unknown` to be learned; its sign says nothing);
    `in_shape`, the shape of `x`; `boundary`, `"zero"` or `"wrap"`, what is beyond the edge. Axes of a single entry are
    left alone.

    **Returns** an array of shape `in_shape`.
    """

    width: ArrayLike | Unknown
    in_shape: tuple[int, ...] = eqx.field(static=True)
    boundary: str = eqx.field(static=True, default="zero")
    axes: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.boundary not in ("zero", "wrap"):
            raise ValueError(f"GaussianBlur: boundary must be 'zero' or 'wrap', not {self.boundary!r}")

    def __call__(self, x: Array) -> Array:
        for axis, side in enumerate(self.in_shape[: self.axes]):
            if side > 1:
                K = self._weights(jnp.arange(side)[:, None] - jnp.arange(side), side, jnp).astype(x.real.dtype)
                x = jnp.moveaxis(jnp.tensordot(K, x, axes=(1, axis)), 0, axis)
        return x

    def modes(self) -> Waves | None:
        if self.boundary != "wrap":
            return None
        found = np.ones(())
        for side in self.in_shape[: self.axes]:
            wave = np.fft.fft(self._weights(np.arange(side), side, np)) if side > 1 else np.ones(1)
            found = found[..., None] * wave
        return Waves(found)

    def _weights(self, offsets, side, xp):
        """The kernel at offsets, over all turns of a periodic axis."""
        precision = 1 / (2 * xp.maximum(xp.asarray(self.width) ** 2, 1e-6))
        total = xp.sum(xp.exp(-(xp.arange(-_SUM, _SUM + 1) ** 2) * precision))
        turns = range(-_TURNS, _TURNS + 1) if self.boundary == "wrap" else (0,)
        return sum(xp.exp(-((offsets + turn * side) ** 2) * precision) for turn in turns) / total
