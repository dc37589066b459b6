"""What attributes beside an array say of its numbers: which of them stand for missing data, how they are packed, their
unit (NetCDF Climate and Forecast conventions 1.11, sections 2.5.1, 3.1 and 8.1).
"""

from base64 import b64decode
from binascii import Error
from collections.abc import Mapping
from typing import Any

import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError

__all__ = ["decoded"]

_KEYS = ("_FillValue", "missing_value", "scale_factor", "add_offset")


def decoded(values: np.ndarray, attributes: Mapping[str, Any]) -> tuple[np.ndarray, str | None]:
    """The numbers that an array stands for, NaN where they are missing, and their unit.

    **Raises:** `ProblemError` where an attribute that says how to read the numbers is none itself.
    """
    said = {key: _numbers(key, attributes[key], values.dtype) for key in _KEYS if key in attributes}
    missing = [x for key in _KEYS[:2] for x in said.get(key, ()) if not np.isnan(x)]
    scale, offset = (said[key][0] if key in said else start for key, start in (("scale_factor", 1), ("add_offset", 0)))
    if (missing or scale != 1 or offset) and values.ndim and values.dtype.kind in "biuf":
        values = memory.by_rows(lambda x: _unpacked(x, missing, scale, offset), values)
    return values, _text(attributes.get("units"))


def _unpacked(x: np.ndarray, missing: list[Any], scale: Any, offset: Any) -> np.ndarray:
    absent = np.isin(x, np.asarray(missing, x.dtype)) if missing else np.zeros(x.shape, bool)
    if scale != 1 or offset:
        x = x * np.float64(scale) + np.float64(offset)
    return np.where(absent, np.float32(np.nan), x) if absent.any() else x


def _numbers(key: str, said: Any, dtype: np.dtype) -> np.ndarray:
    """An attribute as numbers; Zarr 3 keeps those of xarray as text in base 64."""
    if isinstance(said, str):
        try:
            said = np.frombuffer(b64decode(said, validate=True), "<f8" if dtype.kind == "f" else "<i8")
        except (Error, ValueError):
            said = None
    found = np.atleast_1d(np.asarray(said))
    if found.dtype.kind not in "iuf" or not found.size:
        raise ProblemError([f"the attribute '{key}' says how to read the numbers, and is none; remove or mend it"])
    return found.ravel()


def _text(said: Any) -> str | None:
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return said.strip() or None if isinstance(said, str) else None
