"""Whatever a user passes as an array, as a numpy array of floating-point numbers."""

from typing import Any

import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError
from dichroic.formats import Opened
from dichroic.problem.containers import open_container

__all__ = ["MOST", "PER_SAMPLE_HINT", "as_flags", "as_floats", "as_numbers", "unmask"]

MOST = 1e36  # what numbers, and their inverses, are computed with in single precision
PER_SAMPLE_HINT = "; if every sample has its own, say so with PerSample (in a file: per_sample = true)"


def as_numbers(value: Any) -> np.ndarray:
    """An array of numbers or of true/false, in the byte order of this machine.

    **Raises:** `ProblemError` when the value is not numeric, or ragged.
    """
    value = open_container(value).plain()
    try:
        array = np.asarray(value)
    except Exception:  # ragged, or whatever the package of a container raises
        raise ProblemError([f"expected an array of numbers, got {_kind(value)} that does not form one"]) from None
    if array.dtype.names:
        columns = ", ".join(array.dtype.names)
        raise ProblemError([f"expected an array of numbers, got a table with columns {columns}"])
    if array.dtype.kind not in "biufc":
        got = _kind(value) if array.dtype == object else f"an array of type {array.dtype}"
        raise ProblemError([f"expected numbers, got {got}"])
    # files carry their own byte order (FITS is big-endian), which JAX does not accept
    return _as_type(array, array.dtype.newbyteorder("="))


def as_floats(value: Any) -> np.ndarray:
    """An array of real or complex floating-point numbers of 4 or 8 bytes; integers become `float32` if it holds them.

    **Raises:** `ProblemError` when the value is not numeric.
    """
    array = as_numbers(value)
    if array.dtype.kind in "biu" or array.dtype == np.float16:
        exact = (
            array.dtype.itemsize < 4 or not array.size or max(abs(int(array.min())), abs(int(array.max()))) <= 1 << 24
        )
        return _as_type(array, np.float32 if exact else np.float64)
    if array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        return _as_type(array, np.complex128 if array.dtype.kind == "c" else np.float64)
    return array


def as_flags(value: Any) -> np.ndarray:
    """An array of true/false, from booleans or from numbers that are all 0 or 1.

    **Raises:** `ProblemError` when there are other values.
    """
    array = as_numbers(value)
    if array.dtype != bool:
        for block in memory.blocks(len(array), array[:1].nbytes) if array.ndim else (...,):
            other = array[block][~((array[block] == 0) | (array[block] == 1))]
            if other.size:
                raise ProblemError(
                    [f"expected true where there is data and false elsewhere (or 1 and 0), got {other.flat[0]:g}"]
                )
    return _as_type(array, bool)


def unmask(opened: Opened) -> np.ndarray:
    """The numbers of a container, NaN in place of what it masks."""
    values = as_floats(opened.values)
    # np.asarray would drop the mask and keep the numbers under it
    return values if opened.mask is None else np.where(opened.mask, np.float32(np.nan), values)


def _as_type(array: np.ndarray, dtype: Any) -> np.ndarray:
    if array.dtype == dtype or not array.ndim:
        return array.astype(dtype, copy=False)
    return memory.by_rows(lambda x: x.astype(dtype), array)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{value}'"
    if isinstance(value, int):
        return "a whole number of more than 64 bits"
    if isinstance(value, np.ndarray) and value.dtype == object and value.size:
        odd = next((x for x in value.flat if not isinstance(x, int | float)), value.flat[0])
        return f"an array of objects, such as {_kind(odd)}"
    return f"a {type(value).__name__}" if value is not None else "nothing"
