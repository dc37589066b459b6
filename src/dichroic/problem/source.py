"""Sources: what is to be separated."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import index
from typing import Any

import numpy as np

from dichroic.problem.faults import ProblemError

__all__ = ["Source", "as_complex", "as_pairs", "blocks_of", "describe_source"]


@dataclass(frozen=True)
class Source:
    """One kind of signal, real or complex.

    **Arguments:** `shape`, of one sample: `(d,)` for vectors, `(H, W, C)` for images (channels last); `unit`, of its
    values, for axes and reports; `dtype`, `float` or `complex` (in a file `"real"` or `"complex"`): its operators get
    samples of that type, and draws of it have that type. Learned is a complex source as real pairs (`real_shape`).

    **Raises:** `ProblemError` when the shape is empty or not made of whole numbers, or the type is another.
    """

    shape: tuple[int, ...]
    unit: str = ""
    dtype: Any = float

    def __post_init__(self):
        try:
            shape = tuple(index(side) for side in self.shape)
        except TypeError:
            raise ProblemError([f"Source: a shape is a tuple of whole numbers, got {self.shape!r}"]) from None
        if not shape or min(shape) < 1:
            raise ProblemError([f"Source: a shape has at least one axis and no empty one, got {shape}"])
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", _kind(self.dtype))

    @property
    def size(self) -> int:
        """Number of values of one sample."""
        return prod(self.shape)

    @property
    def is_complex(self) -> bool:
        """Whether it is complex."""
        return self.dtype is complex

    @property
    def real_shape(self) -> tuple[int, ...]:
        """Shape of one sample in real numbers, as it is learned: a complex one has a last axis of two."""
        return (*self.shape, 2) if self.is_complex else self.shape

    def to_user(self, x: Any) -> Any:
        """Samples `(..., *real_shape)` as the user sees them."""
        return as_complex(x) if self.is_complex else x


def describe_source(source: Source) -> dict[str, Any]:
    """A source as JSON."""
    return {
        "shape": list(source.shape),
        "unit": source.unit,
        **({"dtype": "complex"} if source.is_complex else {}),
    }


def _kind(dtype: Any) -> type:
    if dtype in ("real", "complex"):
        return complex if dtype == "complex" else float
    try:
        kind = "" if dtype is None else np.dtype(dtype).kind
    except TypeError:
        kind = ""
    if kind not in ("f", "c"):
        raise ProblemError([f"Source: dtype: expected 'real' or 'complex', got {dtype!r}"])
    return complex if kind == "c" else float


def as_pairs(x: Any) -> np.ndarray:
    """Complex numbers as pairs along a new last axis, real numbers as they are."""
    x = np.asarray(x)
    return np.stack([x.real, x.imag], -1) if np.iscomplexobj(x) else x


def as_complex(x: Any) -> np.ndarray:
    """Pairs along the last axis as complex numbers, complex numbers as they are."""
    x = np.asarray(x)
    return x if np.iscomplexobj(x) else x[..., 0] + 1j * x[..., 1]


def blocks_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    """Where every source stands in the vector of all of them, one after the other."""
    blocks, begin = {}, 0
    for s, shape in shapes.items():
        blocks[s] = slice(begin, begin + prod(shape))
        begin = blocks[s].stop
    return blocks
