"""Windows on long records and large images: cutting them, and which place each has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

__all__ = ["Windows"]


@dataclass(frozen=True)
class Windows:
    """Where windows lie in the records they were cut from.

    **Fields:** `size`, of a window along the first axes of a record; `shapes`, of the records along these axes;
    `record`, shape `(n,)`, and `start`, shape `(n, axes)`, of every window; `count`, of windows there were in all.
    """

    size: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    record: np.ndarray
    start: np.ndarray
    count: int

    @classmethod
    def over(cls, shapes: Sequence[tuple[int, ...]], size: tuple[int, ...], hop: tuple[int, ...]) -> "Windows":
        """Windows every `hop` entries; the last one along an axis ends with the record.

        **Raises:** `ValueError` for a record that is shorter than a window.
        """
        record, start = [], []
        for number, shape in enumerate(shapes):
            if any(length < side for length, side in zip(shape, size, strict=True)):
                raise ValueError(f"record {number} has the shape {shape}, which is less than a window of {size}")
            places = [
                sorted({*range(0, length - side + 1, step), length - side})
                for length, side, step in zip(shape, size, hop, strict=True)
            ]
            for place in product(*places):
                record.append(number)
                start.append(place)
        return cls(size, tuple(map(tuple, shapes)), np.asarray(record), np.asarray(start), len(record))

    def __len__(self) -> int:
        return len(self.record)

    @property
    def whole(self) -> bool:
        """Whether no window is left out, so that records can be put together again."""
        return len(self) == self.count

    def place(self, i: int) -> tuple[slice, ...]:
        """Where window `i` lies in its record."""
        return tuple(slice(begin, begin + side) for begin, side in zip(self.start[i], self.size, strict=True))

    def cut(self, records: Sequence[np.ndarray]) -> np.ndarray:
        """All windows of the records, shape `(n, *size, ...)`."""
        return np.stack([records[r][self.place(i)] for i, r in enumerate(self.record)])

    def select(self, indices: np.ndarray) -> "Windows":
        """Some of them."""
        return replace(self, record=self.record[indices], start=self.start[indices])

    def overlapping(self, indices: np.ndarray) -> np.ndarray:
        """Which windows, shape `(n,)`, share an entry with one of those at the indices."""
        found = np.zeros(len(self), bool)
        for i in indices:
            near = (np.abs(self.start - self.start[i]) < np.asarray(self.size)).all(1)
            found |= near & (self.record == self.record[i])
        return found
