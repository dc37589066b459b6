"""Values with what they know beside their numbers: honoured or refused where they are used, never dropped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.labels import Axis, Labels

__all__ = ["Opened"]


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

    def beside(self, other: "Opened", filler: float, power: int = 1) -> Any:
        """The numbers in the unit of `other` to a power and in its order, masked ones replaced.

        **Raises:** `ProblemError` where units cannot be converted, or labels are others.
        """
        values = self.values
        if self.unit is not None:
            values = _convert(self, other.unit, power)
        self.check_order(other)
        if self.mask is not None and np.any(self.mask):
            values = np.where(self.mask, filler, np.asarray(values, float))
        return values

    def check_order(self, other: "Opened") -> None:
        """Whether the axes are those of one observation of `other`, or of all, in its order.

        **Raises:** `ProblemError`.
        """
        if not self.axes or not other.axes:
            return
        for axes in (other.axes, other.axes[1:], other.axes[:1]):
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
