"""Sources: what is to be separated."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan, prod
from numbers import Real
from operator import index
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, PRNGKeyArray

from dichroic.faults import ProblemError, collect
from dichroic.problem.symmetry import Augmentation, permutations, symmetry_of

__all__ = ["Source", "as_complex", "as_pairs", "blocks_of", "describe_source"]


@dataclass(frozen=True)
class Source:
    """One kind of signal, real or complex.

    **Arguments:** `shape`, of one sample: `(d,)` for vectors, `(H, W, C)` for images (channels last); `unit`, of its
    values, for axes and reports; `dtype`, `float` or `complex` (in a file `"real"` or `"complex"`): its operators get
    samples of that type, and draws of it have that type. Learned is a complex source as real pairs (`real_shape`).

    What is known about it beforehand: `symmetry`, some of `"flip"` (mirror images along the axes are as likely),
    `"rotate"` (quarter turns of square images) and `"shift"` (stationary: a window on something without a place of its
    own); `range`, the least and the largest value it can have, either of them infinite (or None) where there is none;
    `positive`, for a least value of zero, which `range` then has.

    **Raises:** `ProblemError` when the shape is empty or not made of whole numbers, the type is another, or what is
    said to be known does not fit the shape, the type or itself.

    >>> Source((28, 28, 1), symmetry=["flip", "rotate"], positive=True).range
    (0.0, inf)
    """

    shape: tuple[int, ...]
    unit: str = ""
    dtype: Any = float
    symmetry: Any = ()
    range: Any = None
    positive: Any = False

    def __post_init__(self):
        try:
            shape = tuple(index(side) for side in self.shape)
        except TypeError:
            raise ProblemError([f"Source: a shape is a tuple of whole numbers, got {self.shape!r}"]) from None
        if not shape or min(shape) < 1:
            raise ProblemError([f"Source: a shape has at least one axis and no empty one, got {shape}"])
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", _kind(self.dtype))
        faults: list[str] = []
        with collect(faults):
            object.__setattr__(self, "symmetry", symmetry_of(self.symmetry, shape))
        with collect(faults):
            object.__setattr__(self, "range", _limits(self.range, self.positive, self.is_complex))
        if faults:
            raise ProblemError(faults)

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

    @property
    def stationary(self) -> bool:
        """Whether its covariances depend on lags alone."""
        return "shift" in self.symmetry

    @property
    def permutations(self) -> Int[np.ndarray, "G d"]:
        """The finite group of its symmetries (`flip` and `rotate`), on flat samples of the `real_shape`."""
        return permutations(self.symmetry, self.shape, self.real_shape)

    @property
    def augmentation(self) -> Augmentation | None:
        """What moves a sample by a random element of that group; None where there is none but the identity."""
        return Augmentation(self.symmetry, self.shape) if {"flip", "rotate"} & set(self.symmetry) else None

    def augment(self, x: Array, key: PRNGKeyArray) -> Array:
        """One sample, shape `real_shape`, moved by a random element of that group: as likely a sample as `x` is."""
        return x if self.augmentation is None else self.augmentation(x, key)

    def clip(self, x: ArrayLike) -> Any:
        """Samples with every value in the range; NumPy's stay with NumPy."""
        if self.range is None:
            return x
        return (jnp if isinstance(x, Array) else np).clip(x, *self.range)

    def known(self) -> dict[str, Any]:
        """What is known beforehand, by the names of the arguments; open ends are infinite."""
        return {
            **({"symmetry": list(self.symmetry)} if self.symmetry else {}),
            **({"range": list(self.range)} if self.range is not None else {}),
        }


def describe_source(source: Source) -> dict[str, Any]:
    """A source as JSON; an open end of its range is None."""
    found = {
        "shape": list(source.shape),
        "unit": source.unit,
        **({"dtype": "complex"} if source.is_complex else {}),
        **source.known(),
    }
    if source.range is not None:
        found["range"] = [None if abs(end) == inf else end for end in source.range]
    return found


def _limits(said: Any, positive: Any, is_complex: bool) -> tuple[float, float] | None:
    if not isinstance(positive, bool):
        raise ProblemError([f"Source: positive: expected true or false, got {positive!r}"])
    if said is None and not positive:
        return None
    if is_complex:
        what = "positive" if said is None else "range"
        raise ProblemError([f"Source: {what}: complex numbers have no order; it is for real sources"])
    expected = "Source: range: expected the least and the largest value, as in [0, 1] or [0, inf]"
    ends = list(said) if isinstance(said, list | tuple | np.ndarray) else [None, None] if said is None else []
    if len(ends) != 2 or not all(end is None or (isinstance(end, Real) and not isnan(end)) for end in ends):
        raise ProblemError([f"{expected}; got {said!r}"])
    low, high = -inf if ends[0] is None else float(ends[0]), inf if ends[1] is None else float(ends[1])
    if not low < high or low == inf or high == -inf:
        raise ProblemError([f"{expected}; got [{low:g}, {high:g}]"])
    if positive and (-inf < low < 0 or high <= 0):
        raise ProblemError([f"Source: a range of [{low:g}, {high:g}] is not that of a positive source"])
    return (max(low, 0.0) if positive else low), high


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
