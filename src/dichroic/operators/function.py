"""Any linear function."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array

from dichroic.operators.base import Operator

__all__ = ["LinearFunction"]


class LinearFunction(Operator):
    """A user's linear function `function(x, parameters)` that JAX can transpose.

    **Arguments:** `function`, linear in `x`; `in_shape`, the shape of `x`; `parameters`, a tree of arrays (may be
    wrapped in `PerSample`), passed on to every call.

    >>> import jax.numpy as jnp
    >>> from dichroic import LinearFunction
    >>> difference = LinearFunction(lambda x, parameters: x[1:] - x[:-1], in_shape=(4,))
    >>> difference.T(jnp.array([1.0, 0.0, 0.0]))
    Array([-1.,  1.,  0.,  0.], dtype=float32)
    """

    function: Callable[[Array, Any], Array] = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True)
    parameters: Any = None

    def __call__(self, x: Array) -> Array:
        return self.function(x, self.parameters)
