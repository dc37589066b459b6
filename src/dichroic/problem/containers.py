"""Arrays that know more than numbers: units, masks and labels are honoured or refused, never dropped.

What the packages call it, told by their attributes, as none of them need be installed: astropy's `Quantity` and
`CCDData` (`NDData`), masked arrays, xarray's `DataArray`, pandas' `DataFrame` and `Series`.
"""

from typing import Any

import numpy as np

from dichroic.formats import Axis, Opened, open_array

__all__ = ["open_container"]


def open_container(value: Any) -> Opened:
    """What a value is, without the parts that NumPy would drop."""
    if isinstance(value, Opened):
        return value
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
        return open_array(value)
    if hasattr(value, "index") and hasattr(value, "iloc"):  # DataFrame, Series
        columns = getattr(value, "columns", None)
        axes = (_axis(value.index), *(() if columns is None else (_axis(columns, True),)))
        return Opened(value.to_numpy(), axes=axes)
    return Opened(value)


def _axis(index: Any, always: bool = False) -> Axis:
    """An index of pandas; rows that are merely counted have no labels."""
    name = str(getattr(index, "name", None) or "")
    counted = type(index).__name__ == "RangeIndex" or isinstance(index, range)
    return Axis(name) if counted and not always else Axis(name, np.asarray(index).astype(str))
