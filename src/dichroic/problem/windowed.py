"""Views of windows on long records, `window`, `hop` and `rate` in a problem file."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats import Axis, Labels, Opened, Windows
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.schema import ViewTable

__all__ = ["Cutter", "cutter", "named"]

_LARGEST, _OFTEN = 1 << 28, 64  # bytes of windows, and how often they may hold every entry of the records beyond that


def cutter(table: ViewTable, arrays: ArrayReader) -> "ArrayReader | Cutter":
    """What reads the arrays of a view: whole, or in windows.

    **Raises:** `ProblemError`.
    """
    if table.window is None:
        if table.hop is not None:
            raise ProblemError(["hop: there is no window that it would move; say window = 256, say"])
        return arrays
    size = _sides("window", table.window)
    hop = size if table.hop is None else _sides("hop", table.hop)
    if len(hop) != len(size) or any(h > w for h, w in zip(hop, size, strict=True)):
        raise ProblemError([f"hop: expected at most the window, {list(size)}, along every axis, got {list(hop)}"])
    return Cutter(arrays, table.y, size, hop)


def _sides(name: str, said: Any) -> tuple[int, ...]:
    sides = said if isinstance(said, list) else [said]
    if not sides or not all(type(side) is int and side > 0 for side in sides):
        raise ProblemError([f"{name}: expected a whole number, or a list with one for each axis, got {said!r}"])
    return tuple(sides)


class _OtherShape(Exception):
    """An array that does not lie over the records."""


class Cutter:
    """Reads arrays and cuts what lies over the records of a view into its windows; the rest stays as it is."""

    def __init__(self, arrays: ArrayReader, y: Any, size: tuple[int, ...], hop: tuple[int, ...]):
        self.arrays, self.y = arrays, y
        self.records = _records(arrays.records(y) if isinstance(y, str | dict) else arrays.open(y), size)
        shapes = [np.shape(x.values)[: len(size)] for x in self.records]
        held = sum(np.asarray(x.values).nbytes for x in self.records)
        count = sum(prod((n - w) // h + 2 for n, w, h in zip(shape, size, hop, strict=True)) for shape in shapes)
        share = held / max(1, sum(map(prod, shapes)))  # bytes of an entry, with its channels
        if (bytes_ := count * prod(size) * share) > max(_LARGEST, _OFTEN * held):
            raise ProblemError([f"hop: {count} windows take {bytes_ / 1e9:.0f} GB; a larger hop makes fewer"])
        try:
            self.windows = Windows.over(shapes, size, hop)
        except ValueError as error:
            raise ProblemError([str(error)]) from None

    def words(self, spec: Any) -> np.ndarray:
        """As `ArrayReader` has it."""
        return self.arrays.words(spec)

    def open(self, spec: Any, y: Any = None) -> Any:
        """As `ArrayReader` has it; an array over the records is cut, every window having an entry of its own."""
        if isinstance(spec, str | dict):
            with suppress(_OtherShape):
                return self._cut(self._matching(self.arrays.records(spec, self.y)))
        return self.arrays.open(spec, self.y)

    def _matching(self, found: Any) -> list[Opened]:
        records = found if isinstance(found, list) else _split(found, self.windows.size)
        if tuple(np.shape(x.values)[: len(self.windows.size)] for x in records) != self.windows.shapes:
            raise _OtherShape
        return records

    def _cut(self, records: Sequence[Opened]) -> Opened:
        first, windows = records[0], self.windows
        units = {str(x.unit) for x in records}
        if len(units) > 1:
            raise ProblemError([f"records have several units: {', '.join(sorted(units))}"])
        values = windows.cut([np.asarray(x.values) for x in records])
        mask = None
        if any(x.mask is not None for x in records):
            mask = windows.cut(
                [np.broadcast_to(False if x.mask is None else x.mask, np.shape(x.values)) for x in records]
            )
        called = [_name(x, i) for i, x in enumerate(records)]
        ids = [
            f"{called[r]}@{','.join(map(str, start))}" for r, start in zip(windows.record, windows.start, strict=True)
        ]
        axes = tuple(Axis(axis.name, step=axis.step, unit=axis.unit) for axis in first.axes)
        return Opened(
            values, mask, first.unit, (Axis(), *axes) if axes else (), np.asarray(ids), first.kind, separate=True
        )


def named(table: ViewTable, y: Opened, arrays: Any = None) -> Labels | None:
    """What the data say of themselves, with `rate` and the places of windows."""
    labels = y.labels()
    if table.rate is not None:
        if isinstance(table.rate, bool) or not isinstance(table.rate, int | float) or table.rate <= 0:
            raise ProblemError([f"rate: expected samples in a second, got {table.rate!r}"])
        axis = Axis("time", step=1 / table.rate, unit="s")
        labels = replace(labels or Labels(), axes=(axis, *(labels.axes[1:] if labels else ())))
    if isinstance(arrays, Cutter):
        labels = labels or Labels()
        records = _record_labels(arrays.records, labels)
        labels = replace(labels, windows=arrays.windows, records=records)
    return labels


def _record_labels(records: Sequence[Opened], labels: Labels) -> Labels:
    shared, columns = {}, {}
    for key in records[0].shared:
        values = [x.shared.get(key) for x in records]
        same = all(value is values[0] or str(value) == str(values[0]) for value in values)
        if same:
            shared[key] = values[0]
        else:
            columns[key] = np.array([*values, None], object)[:-1]
    ids = np.asarray([_name(x, i) for i, x in enumerate(records)])
    return Labels(labels.unit, ids, labels.axes, records[0].kind, columns, shared)


def _name(record: Opened, number: int) -> str:
    name = str(record.shared.get("record", record.shared.get("file", number)))
    return name.partition(".")[0] or name


def _records(found: Any, size: tuple[int, ...]) -> list[Opened]:
    """One array a record: files are records, and an array with an axis more than a window has them along its first."""
    records = found if isinstance(found, list) else _split(found, size)
    with located("window"):
        if any(len(np.shape(x.values)) < len(size) for x in records):
            raise ProblemError([f"a window of {len(size)} axes on records of shape {np.shape(records[0].values)}"])
    return records


def _split(found: Any, size: tuple[int, ...]) -> list[Opened]:
    x = found if isinstance(found, Opened) else Opened(np.asarray(found))
    shape = np.shape(x.values)
    if len(shape) <= len(size) or _has_channels(shape, size):
        return [x]
    masks = [None] * shape[0] if x.mask is None else list(x.mask)
    return [
        replace(x, values=values, mask=mask, axes=x.axes[1:], shared={**x.shared, "record": str(i)})
        for i, (values, mask) in enumerate(zip(x.values, masks, strict=True))
    ]


def _has_channels(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """`(T, 1, C)` beside a window of one side: a series of several channels."""
    return len(size) == 1 and len(shape) == 3 and shape[1] == 1
