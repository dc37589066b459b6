"""Sources: what is to be separated."""

from dataclasses import dataclass
from math import prod

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """One kind of signal, real valued.

    **Arguments:** `shape`, of one sample: `(d,)` for vectors, `(H, W, C)` for images (channels last). A complex source is
    a real pair: shape `(..., 2)` read by the operator `AsComplex`. `unit`, of its values, for axes and reports.
    """

    shape: tuple[int, ...]
    unit: str = ""

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(side) for side in self.shape))
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"Source: a shape has at least one axis and no empty one, got {self.shape}")

    @property
    def size(self) -> int:
        """Number of values of one sample."""
        return prod(self.shape)
