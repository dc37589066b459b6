"""Observing only some of the entries."""

import jax
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic.operators.base import Operator

__all__ = ["Mask"]


class Mask(Operator):
    """The map `x -> weight x`, entry by entry: 1 where observed, 0 where not, or any gain (a vignette, a flat field).

    Entries that a mask zeroes still count as data that read zero plus noise. Where nothing was measured, mark the
    observation itself as missing (NaN, or the view's `observed`).
    """

    weight: ArrayLike

    def __call__(self, x: Array) -> Array:
        return jax.numpy.asarray(self.weight).astype(x.real.dtype) * x

    @property
    def in_shape(self) -> tuple[int, ...]:
        return jax.numpy.shape(self.weight)

    def diagonal(self) -> ArrayLike:
        return self.weight
