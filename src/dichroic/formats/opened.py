"""Values with what they know beside their numbers: honoured or refused where they are used, never dropped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.labels import Axis, Labels

__all__ = ["Opened", "stack"]


@dataclass(frozen=True)
class Opened:
    """An array, and what is known of it.

    **Fields:** `values`, a plain array or whatever it was; `mask`, true where they are no data; `unit`, text or an
    object of a package of units; `axes`, all of them, the observations' included, or none; `ids`, `kind`, `columns` and
    `shared`, as `Labels` has them; `separate`, whether every observation has an entry of its own, from its own file.
    """

    values: Any
    mask: np.ndarray | None = None
    unit: Any = None
    axes: tuple[Axis, ...] = ()
    ids: np.ndarray | None = None
    kind: str = ""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    separate: bool = False

    def labels(self) -> Labels | None:
        """What is known of observations that are stacked along the first axis; None for nothing."""
        rows = self.axes[0] if self.axes else Axis()
        ids = self.ids if self.ids is not None or rows.labels is None else rows.labels.astype(str)
        unit = "" if self.unit is None else str(self.unit)
        found = Labels(unit, ids, self.axes[1:], self.kind, self.columns, self.shared)
        known = unit or ids is not None or self.kind or any(axis.known for axis in self.axes[1:])
        return found if known else None

    def plain(self) -> Any:
        """The numbers alone.

        **Raises:** `ProblemError` where they have a unit or a mask, which would be lost.
        """
        if self.unit is not None:
            raise ProblemError([f"the values have the unit {self.unit}, which means nothing here; give plain numbers"])
        if self.mask is not None and np.any(self.mask):
            raise ProblemError(["some values are masked, which means nothing here; give plain numbers"])
        return self.values

    def beside(self, other: "Opened", filler: float, power: int = 1, samples: bool = False) -> Any:
        """The numbers in the unit of `other` to a power and in its order, masked ones replaced.

        **Arguments:** `samples`, whether they are one for each observation, whatever else.

        **Raises:** `ProblemError` where units cannot be converted, or labels are others.
        """
        values = self.values
        if self.unit is not None:
            values = _convert(self, other.unit, power)
        self.check_order(other, samples)
        if self.mask is not None and np.any(self.mask):
            values = np.where(self.mask, filler, np.asarray(values, float))
        return values

    def check_order(self, other: "Opened", samples: bool = False) -> None:
        """Whether the axes are those of all observations of `other`, or of one, in its order; of numbers that are one
        for each observation those of all, or theirs alone.

        **Raises:** `ProblemError`.
        """
        if not self.axes or not other.axes:
            return
        for axes in (other.axes, other.axes[:1] if samples else other.axes[1:]):
            if len(self.axes) == len(axes) and all(a.agrees(b) for a, b in zip(self.axes, axes, strict=True)):
                return
        words = [" x ".join(axis.describe() for axis in x.axes) for x in (self, other)]
        same = ", or their labels to agree" if words[0] == words[1] else ""
        raise ProblemError(
            [f"the axes are {words[0]}, but those of y {words[1]}; bring them into the same order{same}"]
        )


def _convert(own: Opened, unit: Any, power: int) -> Any:
    if unit is None:
        raise ProblemError([f"the values have the unit {own.unit}, but y has none; give both with units, or neither"])
    wanted = str(unit) if power == 1 else f"({unit})^{power}"
    if str(own.unit) == wanted:
        return own.values
    try:
        factor = _factor(own.unit, unit, power)
    except ImportError:
        raise ProblemError([f"the values have the unit {own.unit}, but y has {unit}"]) from None
    except Exception as error:  # whatever the package of units raises
        raise ProblemError(
            [f"the values have the unit {own.unit}, which does not convert to {wanted}, that of y"]
        ) from error
    return np.asarray(own.values) * factor


def _factor(own: Any, unit: Any, power: int) -> float:
    if not isinstance(own, str) and not isinstance(unit, str):
        if hasattr(own, "to"):
            return float(own.to(unit if power == 1 else unit**power))
        found = (1.0 * own).to(unit**power)  # pint, unyt
        return float(getattr(found, "magnitude", found))
    from astropy.units import Unit

    scale: Any = Unit(str(own)).to(Unit(str(unit)) ** power)
    return float(scale)


def stack(found: list[Opened]) -> Opened:
    """Arrays as one, each being an observation; of several files: named after them, with what each file says.

    **Raises:** `ProblemError` where shapes, units or the order of the axes differ.
    """
    first = found[0]
    called = [str(one.shared.get("file", i)) for i, one in enumerate(found)]
    for one, name in zip(found, called, strict=True):
        if np.shape(one.values) != np.shape(first.values):
            got, expected = np.shape(one.values), np.shape(first.values)
            raise ProblemError([f"'{name}' has the shape {got}, '{called[0]}' {expected}; cut them to one shape"])
        if str(one.unit) != str(first.unit):
            raise ProblemError([f"'{name}' has the unit {one.unit}, '{called[0]}' {first.unit}"])
        if any(a.shuffled(b) for a, b in zip(one.axes, first.axes, strict=False)):
            raise ProblemError([f"the axes of '{name}' are in another order than those of '{called[0]}'"])
    masks = [np.ma.nomask if one.mask is None else one.mask for one in found]
    shape = np.shape(first.values)
    mask = None if all(m is np.ma.nomask for m in masks) else np.stack([np.broadcast_to(m, shape) for m in masks])
    shared, columns = {}, {}
    for key in first.shared:
        values = [one.shared.get(key) for one in found]
        if all(_same(value, values[0]) for value in values):
            shared[key] = values[0]
        else:
            columns[key] = np.array([*values, None], object)[:-1]  # whatever they are, one an observation
    axes = (Axis(), *(first.axes or [Axis()] * len(shape)))
    stems = [name.partition(".")[0] for name in called]
    ids = np.asarray(stems if len(set(stems)) == len(stems) else called) if first.kind else None
    values = np.stack([one.values for one in found])
    return Opened(values, mask, first.unit, axes, ids, first.kind, columns, shared, separate=True)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b)
