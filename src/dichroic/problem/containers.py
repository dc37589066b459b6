"""Arrays that know more than numbers: units, masks and labels are honoured or refused, never dropped.

What the packages call it, told by their attributes, as none of them need be installed: astropy's `Quantity`, `Column`,
`Masked`, `CCDData` (`NDData`) and uncertainties, quantities of pint and unyt, masked arrays, xarray's `DataArray`,
pandas' `DataFrame` and `Series`, and lists of all these.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from dichroic.formats import Axis, Opened, open_array, stack

_POWERS = {"std": 1, "var": 2, "ivar": -2}  # of a standard deviation, by what astropy calls uncertainties
_PLAIN = (int, float, bool, complex, str, np.ndarray)

__all__ = ["open_container"]


def open_container(value: Any) -> Opened:
    """What a value is, without the parts that NumPy would drop."""
    if isinstance(value, Opened):
        return value
    if type(value) is np.ndarray:
        return Opened(value)
    if isinstance(value, list | tuple):
        rich = [type(x) not in _PLAIN and open_container(x).values is not x for x in value]
        return stack([open_container(x) for x in value]) if any(rich) else Opened(value)
    if isinstance(value, np.ma.MaskedArray):
        return Opened(np.ma.getdata(value, subok=False), np.ma.getmaskarray(value), getattr(value, "unit", None))
    if hasattr(value, "unmasked") and hasattr(value, "mask"):  # Masked, of quantities too
        return replace(open_container(value.unmasked), mask=np.asarray(value.mask))
    if getattr(value, "uncertainty_type", None) in _POWERS:
        return _deviation(value)
    if all(hasattr(value, name) for name in ("data", "mask", "unit", "uncertainty")):  # NDData, CCDData
        inner = open_container(value.data)
        mask = None if value.mask is None else np.broadcast_to(np.asarray(value.mask, bool), np.shape(value.data))
        return Opened(inner.values, mask, value.unit)
    if hasattr(value, "unit") and hasattr(value, "to_value"):  # Quantity
        return Opened(np.asarray(value.to_value(value.unit)), unit=value.unit)
    if hasattr(value, "dims") and hasattr(value, "attrs") and isinstance(value.values, np.ndarray):  # DataArray
        inner = open_container(getattr(value, "data", None))  # which may be a quantity itself
        return open_array(value) if inner.unit is None else replace(open_array(value), unit=inner.unit)
    if hasattr(value, "units") and (hasattr(value, "magnitude") or hasattr(value, "to_value")):  # pint, unyt
        plain = value.magnitude if hasattr(value, "magnitude") else np.asarray(value)
        return replace(open_container(plain), unit=value.units)
    if issubclass(type(value), np.ndarray) and getattr(value, "unit", None) is not None:  # Column
        return Opened(np.asarray(value), unit=value.unit)
    if hasattr(value, "index") and hasattr(value, "iloc"):  # DataFrame, Series
        columns = getattr(value, "columns", None)
        axes = (_axis(value.index), *(() if columns is None else (_axis(columns, True),)))
        values = value.to_numpy()
        # nullable columns are objects, with a mark of their own where nothing is known
        if values.dtype.kind == "O" and all(map(_is_nullable, np.atleast_1d(value.dtypes))):
            values = value.to_numpy(dtype=float, na_value=np.nan)
        return Opened(values, axes=axes)
    return Opened(value)


def _deviation(uncertainty: Any) -> Opened:
    """The standard deviations of an uncertainty; infinite ones, of zero inverse variance, were not measured."""
    power, unit = 1 / _POWERS[uncertainty.uncertainty_type], uncertainty.unit
    with np.errstate(divide="ignore"):
        values = np.asarray(uncertainty.array, float) ** power
    return Opened(values, unit=None if unit is None else unit**power)


def _is_nullable(dtype: Any) -> bool:
    """Numbers of pandas that may be absent: `Int64`, `Float64`, or those of pyarrow."""
    return hasattr(dtype, "na_value") and getattr(dtype, "kind", "") in "biuf"


def _axis(index: Any, always: bool = False) -> Axis:
    """An index of pandas; rows that are merely counted have no labels."""
    name = str(getattr(index, "name", None) or "")
    counted = type(index).__name__ == "RangeIndex" or isinstance(index, range)
    return Axis(name) if counted and not always else Axis(name, np.asarray([str(label) for label in index]))
