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
    `record`, shape `(n,)`, and `start`, shape `(n, axes)`, of every window; `count`, of windows there were in all, 0
    where they were not meant to cover the records.
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

    @classmethod
    def around(cls, shapes: Sequence[tuple[int, ...]], size: tuple[int, ...], centres: np.ndarray) -> "Windows":
        """A window around each of the places, shape `(n, axes)` in entries, of the only record: what lies beyond its
        edges is in no window.

        **Raises:** `ValueError` for several records, and for a window that lies outside altogether.
        """
        if len(shapes) != 1:
            raise ValueError(f"places are in one record, got {len(shapes)}")
        start = np.floor(np.asarray(centres, float) - (np.asarray(size) - 1) / 2 + 0.5).astype(int)
        outside = ((start + size <= 0) | (start >= np.asarray(shapes[0]))).any(1)
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"{int(outside.sum())} of {len(start)} places lie beyond the edges of {shapes[0]}, first no. {first}"
            )
        return cls(size, tuple(map(tuple, shapes)), np.zeros(len(start), int), start, 0)

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
        """All windows of the records, shape `(n, *size, ...)`, zero beyond their edges."""
        before = max(0, -int(self.start.min(initial=0)))
        beyond = self.start + self.size - np.asarray(self.shapes)[self.record]
        after = max(0, int(beyond.max(initial=0)))
        if not before and not after:
            return np.stack([records[r][self.place(i)] for i, r in enumerate(self.record)])
        margins = [(before, after)] * len(self.size)
        padded = [np.pad(x, margins + [(0, 0)] * (x.ndim - len(margins))) for x in records]
        return replace(self, start=self.start + before, shapes=tuple(x.shape[: len(margins)] for x in padded)).cut(
            padded
        )

    def outside(self) -> np.ndarray | None:
        """Which entries, shape `(n, *size)`, are beyond the edges of the records; None where there is none."""
        found = self.cut([np.ones(shape, bool) for shape in self.shapes])
        return None if found.all() else ~found

    def select(self, indices: np.ndarray) -> "Windows":
        """Some of them."""
        return replace(self, record=self.record[indices], start=self.start[indices])

    def pieces(self) -> tuple["Windows", list[tuple[int, int]]]:
        """The same windows on series, every stretch without a gap being a record by itself.

        **Returns** them, and for each stretch its record and where in it it begins.
        """
        record, begins, ends = np.zeros(len(self), int), [], []
        for i in np.lexsort([self.start[:, 0], self.record]):
            place, begin = int(self.record[i]), int(self.start[i, 0])
            if not begins or begins[-1][0] != place or begin > ends[-1]:
                begins.append((place, begin))
                ends.append(begin)
            record[i], ends[-1] = len(begins) - 1, begin + self.size[0]
        shapes = tuple((end - begin,) for (_, begin), end in zip(begins, ends, strict=True))
        start = self.start - np.asarray([begin for _, begin in begins])[record][:, None]
        return replace(self, shapes=shapes, record=record, start=start, count=len(self)), begins

    def overlapping(self, indices: np.ndarray) -> np.ndarray:
        """Which windows, shape `(n,)`, share an entry with one of those at the indices."""
        found = np.zeros(len(self), bool)
        for i in indices:
            near = (np.abs(self.start - self.start[i]) < np.asarray(self.size)).all(1)
            found |= near & (self.record == self.record[i])
        return found
