"""Identity and multiplication by a number."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic.operators.base import Operator
from dichroic.operators.unknown import Unknown

__all__ = ["Identity", "Scale"]


class Identity(Operator):
    """The map `x -> x`."""

    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        return x

    def diagonal(self) -> ArrayLike:
        return 1.0


class Scale(Operator):
    """The map `x -> factor x`, with a real or complex `factor` (an amplitude)."""

    factor: ArrayLike | Unknown
    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        factor = jnp.asarray(self.factor)
        kind = x.real.dtype if not jnp.iscomplexobj(factor) else jnp.result_type(x.real.dtype, 1j)
        return factor.astype(kind) * x

    def diagonal(self) -> Any:
        return self.factor
