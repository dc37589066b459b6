"""What observations and entries are called, in a problem file: `ids` and `axes`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located, require_known
from dichroic.formats import Axis, Labels, Opened
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.schema import ViewTable
from dichroic.problem.windowed import Cutter, named

__all__ = ["describe_labels", "read_labels"]

_AXIS = ("name", "labels", "step", "start", "unit")


def read_labels(table: ViewTable, arrays: ArrayReader | Cutter, y: Opened) -> Labels | None:
    """The labels of a view: those that its data say themselves, in whose place those of the file come.

    **Raises:** `ProblemError`.
    """
    labels = named(table.rate, y, arrays)
    n, event = np.shape(y.values)[0] if np.ndim(y.values) else 0, np.shape(y.values)[1:]
    if table.ids is not None:
        with located("ids"):
            ids = arrays.words(table.ids)
            if ids.shape != (n,):
                raise ProblemError([f"expected one for each of {n} observations, got shape {ids.shape}"])
        labels = replace(labels or Labels(), ids=ids)
    if table.axes:
        with located("axes"):
            if len(table.axes) > len(event):
                raise ProblemError([f"an observation of shape {event} has {len(event)} axes, got {len(table.axes)}"])
            axes = tuple(_axis(said, arrays, size) for said, size in zip(table.axes, event, strict=False))
        labels = replace(labels or Labels(), axes=axes)
    return labels


def _axis(said: Mapping[str, Any], arrays: ArrayReader | Cutter, size: int) -> Axis:
    require_known(said, _AXIS)
    given = dict(said)
    if "labels" in given:
        given["labels"] = arrays.words(given["labels"])
        if given["labels"].shape != (size,):
            raise ProblemError([f"labels: expected one for each of {size} entries, got {given['labels'].shape}"])
    for key, kinds in (("name", str), ("unit", str), ("step", int | float), ("start", int | float)):
        if key in given and (not isinstance(given[key], kinds) or isinstance(given[key], bool)):
            raise ProblemError([f"{key}: expected {'text' if kinds is str else 'a number'}, got {given[key]!r}"])
    return Axis(**given)


def describe_labels(labels: Labels | None, keep: Any) -> dict[str, Any]:
    """The keys `ids` and `axes` from which :func:`read_labels` makes the labels again.

    **Arguments:** `keep(name, array)`, keeps an array and returns the value that stands for it.
    """
    found: dict[str, Any] = {}
    if labels is None:
        return found
    if labels.ids is not None:
        found["ids"] = keep("ids", labels.ids.astype(str))
    if labels.axes:
        found["axes"] = [_describe(axis, number, keep) for number, axis in enumerate(labels.axes)]
    return found


def _describe(axis: Axis, number: int, keep: Any) -> dict[str, Any]:
    found = {key: getattr(axis, key) for key in ("name", "unit", "step", "start")}
    found = {key: value for key, value in found.items() if value not in ("", None, 0.0)}
    return found if axis.labels is None else {**found, "labels": keep(f"axis{number}", axis.labels)}
