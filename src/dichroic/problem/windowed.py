"""Views of windows on long records and of cut-outs of large images: `window`, `hop`, `at` and `rate`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats import Axis, Labels, Opened, Windows, moved, read_catalogue
from dichroic.operators import Likelihood, PerSample
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.containers import open_container
from dichroic.problem.schema import ViewTable
from dichroic.problem.values import unmask
from dichroic.problem.view import View, beside

__all__ = ["Cutter", "cutter", "named", "windowed"]

_LARGEST, _OFTEN = 1 << 28, 64  # bytes of windows, and how often they may hold every entry of the records beyond that


def cutter(table: ViewTable, arrays: ArrayReader) -> "ArrayReader | Cutter":
    """What reads the arrays of a view: whole, or in windows.

    **Raises:** `ProblemError`.
    """
    for key in ("hop", "at") if table.window is None else ():
        if getattr(table, key) is not None:
            raise ProblemError([f"{key}: there is no window that it would move; say window = 256, say"])
    return arrays if table.window is None else Cutter(arrays, table.y, table.window, table.hop, table.at)


def windowed(
    records: Any,
    mixing: Mapping[str, Any],
    noise: Any,
    *,
    window: int | Sequence[int],
    hop: int | Sequence[int] | None = None,
    at: Any = None,
    ids: Any = None,
    rate: float | int | None = None,
    observed: Any = None,
    truth: Mapping[str, Any] | None = None,
) -> View:
    """A view of windows on long records or large images, as `window` and `hop` make it in a problem file.

    **Arguments:** `records`, shape `(T,)`, `(records, T)`, or a list of records of several lengths; images `(H, W)` or
    `(images, H, W)`; `noise`, `observed` and `truth` as for `View`, those over the records being cut with them;
    `window`, entries of an observation along each axis; `hop`, between two of them (default: the window); `at`, places
    in the only record, shape `(n, axes)` in entries from 0, around which windows are cut instead, with missing data
    beyond its edges; `ids`, what the windows are called; `rate`, entries in a second.

    **Raises:** `ProblemError`.

    >>> view = windowed(np.zeros(20), {"s": 1.0}, 0.1, window=8, hop=4)
    >>> view.y.shape, view.labels.windows.whole
    ((4, 8), True)
    """
    cut = Cutter(None, records, window, hop, at)
    with located("y"):
        y = cut.over(records)
        assert y is not None
        labels = named(rate, y, cut)
        if ids is not None and labels is not None:
            labels = replace(labels, ids=np.asarray(ids).astype(str))

    def beside_y(value: Any, filler: float) -> Any:
        over = cut.over(value)
        return beside(value, y, filler) if over is None else over.beside(y, filler)

    known = {}
    for s, x in (truth or {}).items():
        with located(f"truth of source '{s}'"):
            known[s] = beside_y(x, np.nan)
    with located("noise"):
        found = beside_y(noise, np.inf)
        found = found if cut.over(noise) is None else PerSample(found)
    with located("observed"):
        observed = None if observed is None else beside_y(observed, 0.0)
    return View(unmask(y), mixing, found, observed, known, labels=labels)


def _sides(name: str, said: Any) -> tuple[int, ...]:
    sides = list(said) if isinstance(said, list | tuple) else [said]
    if not sides or not all(type(side) is int and side > 0 for side in sides):
        raise ProblemError([f"{name}: expected a whole number, or a list with one for each axis, got {said!r}"])
    return tuple(sides)


class _OtherShape(Exception):
    """An array that does not lie over the records."""


class Cutter:
    """Reads arrays and cuts what lies over the records of a view into its windows; the rest stays as it is."""

    def __init__(self, arrays: ArrayReader | None, y: Any, window: Any, hop: Any = None, at: Any = None):
        self.arrays, self.y, size = arrays, y, _sides("window", window)
        step = size if hop is None else _sides("hop", hop)
        if len(step) != len(size) or any(h > w for h, w in zip(step, size, strict=True)):
            raise ProblemError([f"hop: expected at most the window, {list(size)}, along every axis, got {list(step)}"])
        self.records = _records(self._opened(y), size)
        shapes = [np.shape(x.values)[: len(size)] for x in self.records]
        self.ids = None
        try:
            if at is None:
                pairs = [zip(shape, size, step, strict=True) for shape in shapes]
                self._afford("hop", sum(prod((n - w) // h + 2 for n, w, h in pair) for pair in pairs), size, shapes)
                self.windows = Windows.over(shapes, size, step)
            else:
                with located("at"):
                    places, self.ids = self._places(at, len(size))
                    self._afford("window", len(places), size, shapes)
                    self.windows = Windows.around(shapes, size, places)
        except ValueError as error:
            raise ProblemError([str(error)]) from None

    def _afford(self, key: str, count: int, size: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> None:
        held = sum(np.asarray(x.values).nbytes for x in self.records)
        share = held / max(1, sum(map(prod, shapes)))  # bytes of an entry, with its channels
        if (bytes_ := count * prod(size) * share) > max(_LARGEST, _OFTEN * held):
            raise ProblemError([f"{key}: {count} windows take {bytes_ / 1e9:.0f} GB; a larger hop makes fewer"])

    def words(self, spec: Any) -> np.ndarray:
        """As `ArrayReader` has it."""
        assert self.arrays is not None
        return self.arrays.words(spec)

    def open(self, spec: Any, y: Any = None) -> Any:
        """As `ArrayReader` has it; an array over the records is cut, every window having an entry of its own."""
        assert self.arrays is not None
        if isinstance(spec, str | dict):
            with suppress(_OtherShape):
                return self._cut(self._matching(self.arrays.records(spec, self.y)))
        return self.arrays.open(spec, self.y)

    def over(self, value: Any) -> Opened | None:
        """The windows of an array over the records; None for anything else."""
        if isinstance(value, PerSample | Likelihood) or not (isinstance(value, list | tuple) or np.ndim(value)):
            return None
        with suppress(_OtherShape):
            return self._cut(self._matching(self._opened(value)))
        return None

    def _opened(self, said: Any) -> Any:
        if self.arrays is not None:
            return self.arrays.records(said) if isinstance(said, str | dict) else self.arrays.open(said)
        ragged = isinstance(said, list | tuple) and all(np.ndim(x) > 0 for x in said)
        return (
            [open_container(x) for x in said]
            if ragged
            else open_container(np.asarray(said) if isinstance(said, list) else said)
        )

    def _places(self, at: Any, axes: int) -> tuple[np.ndarray, np.ndarray | None]:
        if isinstance(at, dict) and "catalogue" in at:
            assert self.arrays is not None
            return read_catalogue(at, self.arrays.folder, self.records[0])
        places = np.asarray(at if self.arrays is None else self.arrays.read(at), float)
        if places.ndim != 2 or places.shape[1] != axes or not np.isfinite(places).all():
            raise ProblemError([f"expected a place for each window, shape (n, {axes}), got shape {places.shape}"])
        return places, None

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
        if (outside := windows.outside()) is not None:
            outside = np.broadcast_to(
                outside.reshape(outside.shape + (1,) * (values.ndim - outside.ndim)), values.shape
            )
            mask = outside if mask is None else mask | outside
        called = [_name(x, i) for i, x in enumerate(records)]
        ids = [
            f"{called[r]}@{','.join(map(str, start))}" for r, start in zip(windows.record, windows.start, strict=True)
        ]
        ids = ids if self.ids is None else self.ids
        columns, headers = {}, [x.shared.get("header") for x in records]
        if not windows.count and headers[0]:  # of a cut-out, with its own origin
            columns["header"] = np.asarray([moved(headers[0], start) for start in windows.start], object)
        axes = tuple(Axis(axis.name, step=axis.step, unit=axis.unit) for axis in first.axes)
        axes = (Axis(), *axes) if axes else ()
        return Opened(values, mask, first.unit, axes, np.asarray(ids), first.kind, columns, separate=True)


def named(rate: Any, y: Opened, arrays: Any = None) -> Labels | None:
    """What the data say of themselves, with `rate` and the places of windows."""
    labels = y.labels()
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
            raise ProblemError([f"rate: expected samples in a second, got {rate!r}"])
        axis = Axis("time", step=1 / rate, unit="s")
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
    if len(shape) <= len(size) or _has_channels(x, size):
        return [x]
    masks = [None] * shape[0] if x.mask is None else list(x.mask)
    return [
        replace(x, values=values, mask=mask, axes=x.axes[1:], shared={**x.shared, "record": str(i)})
        for i, (values, mask) in enumerate(zip(x.values, masks, strict=True))
    ]


def _has_channels(x: Opened, size: tuple[int, ...]) -> bool:
    """A last axis of channels beside a window: that is said, or the shape `(T, 1, C)` of a series with several."""
    shape = np.shape(x.values)
    named = bool(x.axes) and x.axes[-1].name == "channel" and len(shape) == len(size) + 1
    return named or (len(size) == 1 and len(shape) == 3 and shape[1] == 1)
