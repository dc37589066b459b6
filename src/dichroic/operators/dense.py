"""A matrix."""

from math import prod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dichroic.operators.base import Operator

__all__ = ["Dense"]


class Dense(Operator):
    """The map `x -> matrix vec(x)`, for small problems with one matrix per sample or for all.

    **Arguments:** `matrix`, shape `(m, d)`; `shape`, the shape of `x` when it is not `(d,)` (rows are read in C order).
    """

    matrix: Any
    shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if isinstance(self.matrix, int | float) or getattr(self.matrix, "ndim", 2) < 2:
            raise ValueError(f"Dense: expected a matrix, shape (m, d), got shape {np.shape(self.matrix)}")
        if self.shape is not None and self.matrix.ndim == 2 and prod(self.shape) != self.matrix.shape[-1]:
            raise ValueError(f"Dense: a matrix with {self.matrix.shape[-1]} columns cannot act on shape {self.shape}")

    def __call__(self, x: Array) -> Array:
        matrix = jnp.asarray(self.matrix)
        kind = jnp.result_type(x.dtype, 1j) if jnp.iscomplexobj(matrix) else x.dtype
        return matrix.astype(kind) @ x.reshape(-1).astype(kind)

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.shape if self.shape is not None else (self.matrix.shape[-1],)
