"""What the entries of data are called: axes, identifiers, units, and what a file said beside its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dichroic.formats.windows import Windows

__all__ = ["Axis", "Labels"]


@dataclass(frozen=True)
class Axis:
    """One axis of an array.

    **Fields:** `name`; `labels`, one for every entry, names or coordinates, None where there are none; `step` and
    `start`, coordinates on a grid (seconds, say, for `step = 1 / rate`); `unit`, of the coordinates.
    """

    name: str = ""
    labels: np.ndarray | None = None
    step: float | None = None
    start: float = 0.0
    unit: str = ""

    @property
    def known(self) -> bool:
        """Whether it has a name or coordinates."""
        return bool(self.name) or self.labels is not None or self.step is not None

    def coordinates(self, size: int) -> np.ndarray | None:
        """A coordinate or a name for each of `size` entries; None where nothing is known."""
        if self.labels is not None and len(self.labels) == size:
            return self.labels
        return None if self.step is None else self.start + self.step * np.arange(size)

    def agrees(self, other: "Axis") -> bool:
        """Whether both may be the same axis: names and labels are the same, where both have them."""
        if self.name and other.name and self.name != other.name:
            return False
        return self.labels is None or other.labels is None or np.array_equal(self.labels, other.labels)

    def shuffled(self, other: "Axis") -> bool:
        """Whether it has another name, or the same labels in another order."""
        if self.labels is None or other.labels is None or self.agrees(other):
            return not self.agrees(other)
        return bool(np.array_equal(np.sort(self.labels), np.sort(other.labels)))

    def describe(self) -> str:
        """A word for a message."""
        if self.name or self.labels is None:
            return self.name or "rows"
        return ", ".join(map(str, self.labels[:6]))


@dataclass(frozen=True)
class Labels:
    """What the entries of a view are called. No result depends on it.

    **Fields:** `unit`, of the values; `ids`, one for every observation, None for their numbers; `axes`, of one
    observation, as many as are known; `kind`, of the file that the data came from, an entry of `READERS`; `columns`,
    what that file says of every observation, `{name: (n,)}`, and `shared`, what it says of all; `windows`, where
    observations lie in the records they were cut from, and `records`, what those are called, None for whole ones.
    """

    unit: str = ""
    ids: np.ndarray | None = None
    axes: tuple[Axis, ...] = ()
    kind: str = ""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    windows: Windows | None = None
    records: "Labels | None" = None

    def select(self, indices: np.ndarray) -> "Labels":
        """Those of some observations, in that order."""
        columns = {name: values[indices] for name, values in self.columns.items()}
        windows = None if self.windows is None else self.windows.select(indices)
        return replace(self, ids=None if self.ids is None else self.ids[indices], columns=columns, windows=windows)

    def name(self, i: int) -> str:
        """What observation `i` is called: its identifier, or its number."""
        return f"no. {i}" if self.ids is None else str(self.ids[i])

    def axis(self, number: int) -> Axis:
        """An axis of one observation; one without a name where nothing is known of it."""
        return self.axes[number] if number < len(self.axes) else Axis()
