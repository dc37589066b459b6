"""The size of numbers, by which they are divided where squares of single precision or tolerances have a unit."""

from typing import Any

import numpy as np

__all__ = ["size_of"]


def size_of(x: Any, xp: Any = np) -> Any:
    """The power of two next to the largest of some numbers, so that no digit changes; 1 of zeros.

    **Arguments:** `xp`, `numpy`, or `jax.numpy` inside compiled programs.
    """
    return xp.ldexp(xp.ones((), x.real.dtype), xp.frexp(xp.max(xp.abs(x), initial=0))[1])
