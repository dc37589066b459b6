"""Arrays that know more than numbers: units, masks and labels are honoured or refused, never dropped.

What the packages call it, told by their attributes, as none of them need be installed: astropy's `Quantity` and
`CCDData` (`NDData`), masked arrays, xarray's `DataArray`, pandas' `DataFrame` and `Series`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dichroic.faults import ProblemError

__all__ = ["Opened", "open_container"]


@dataclass(frozen=True)
class Opened:
    """`values`, a plain array or whatever it was; `mask`, true where they are no data; `unit`; `labels` of the axes."""

    values: Any
    mask: np.ndarray | None = None
    unit: Any = None
    labels: tuple[tuple[str, ...] | None, ...] | None = None

    def plain(self) -> Any:
        """The numbers alone.

        **Raises:** `ProblemError` where they have a unit or a mask, which would be lost.
        """
        if self.unit is not None:
            raise ProblemError([f"the values have the unit {self.unit}, which means nothing here; give plain numbers"])
        if self.mask is not None and np.any(self.mask):
            raise ProblemError(["some values are masked, which means nothing here; give plain numbers"])
        return self.values

    def beside(self, other: "Opened", filler: float) -> Any:
        """The numbers in the unit and the order of `other`, masked ones replaced.

        **Raises:** `ProblemError` where units cannot be converted, or labels are others.
        """
        values = self.values
        if self.unit is not None:
            values = _convert(self, other.unit)
        if self.labels is not None and other.labels is not None:
            _check_labels(self.labels, other.labels)
        if self.mask is not None and np.any(self.mask):
            values = np.where(self.mask, filler, np.asarray(values, float))
        return values


def open_container(value: Any) -> Opened:
    """What a value is, without the parts that NumPy would drop."""
    if type(value) is np.ndarray:
        return Opened(value)
    if isinstance(value, np.ma.MaskedArray):
        return Opened(value.data, np.ma.getmaskarray(value), getattr(value, "unit", None))
    if all(hasattr(value, name) for name in ("data", "mask", "unit", "uncertainty")):  # NDData, CCDData
        inner = open_container(value.data)
        mask = None if value.mask is None else np.broadcast_to(np.asarray(value.mask, bool), np.shape(value.data))
        return Opened(inner.values, mask, value.unit)
    if hasattr(value, "unit") and hasattr(value, "to_value"):  # Quantity, and Masked of one
        mask = getattr(value, "mask", None)
        values = value.to_value(value.unit)
        return Opened(np.asarray(getattr(values, "unmasked", values)), mask, value.unit)
    if hasattr(value, "dims") and hasattr(value, "values") and hasattr(value, "attrs"):  # DataArray
        unit = value.attrs.get("units")
        return Opened(np.asarray(value.values), None, unit, tuple((str(dim),) for dim in value.dims))
    if hasattr(value, "index") and hasattr(value, "iloc"):  # DataFrame, Series
        columns = getattr(value, "columns", None)
        labels = (None,) if columns is None else (None, tuple(map(str, columns)))
        return Opened(value.to_numpy(), None, None, labels)
    return Opened(value)


def _convert(own: Opened, unit: Any) -> Any:
    if unit is None:
        raise ProblemError([f"the values have the unit {own.unit}, but y has none; give both with units, or neither"])
    if str(unit) == str(own.unit):
        return own.values
    factor = getattr(own.unit, "to", None)
    if factor is None:
        raise ProblemError([f"the values have the unit {own.unit}, but y has {unit}"])
    try:
        return np.asarray(own.values) * float(factor(unit))
    except Exception as error:  # whatever the package of units raises
        raise ProblemError(
            [f"the values have the unit {own.unit}, which does not convert to {unit}, that of y"]
        ) from error


def _check_labels(own: tuple, other: tuple) -> None:
    """Axes of one observation, or of all, in the order of y."""
    if own not in (other, other[1:], other[:1]):
        words = [" x ".join(", ".join(axis) if axis else "rows" for axis in labels) for labels in (own, other)]
        raise ProblemError([f"the axes are {words[0]}, but those of y {words[1]}; bring them into the same order"])
