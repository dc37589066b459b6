"""Sources: what is to be separated."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import index

from dichroic.problem.faults import ProblemError

__all__ = ["Source", "blocks_of"]


@dataclass(frozen=True)
class Source:
    """One kind of signal, real valued.

    **Arguments:** `shape`, of one sample: `(d,)` for vectors, `(H, W, C)` for images (channels last). A complex source
    is a real pair: shape `(..., 2)` read by the operator `AsComplex`. `unit`, of its values, for axes and reports.

    **Raises:** `ProblemError` when the shape is empty or not made of whole numbers.
    """

    shape: tuple[int, ...]
    unit: str = ""

    def __post_init__(self):
        try:
            shape = tuple(index(side) for side in self.shape)
        except TypeError:
            raise ProblemError([f"Source: a shape is a tuple of whole numbers, got {self.shape!r}"]) from None
        if not shape or min(shape) < 1:
            raise ProblemError([f"Source: a shape has at least one axis and no empty one, got {shape}"])
        object.__setattr__(self, "shape", shape)

    @property
    def size(self) -> int:
        """Number of values of one sample."""
        return prod(self.shape)


def blocks_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    """Where every source stands in the vector of all of them, one after the other."""
    blocks, begin = {}, 0
    for s, shape in shapes.items():
        blocks[s] = slice(begin, begin + prod(shape))
        begin = blocks[s].stop
    return blocks
