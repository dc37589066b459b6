"""What was measured, in a problem file: a mask, or the bits of one that make an entry bad."""

from dataclasses import replace
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located, require_known
from dichroic.formats import Opened
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.windowed import Cutter

__all__ = ["read_observed"]

_KEYS = ("bad", "bits", "flags")


def read_observed(spec: Any, arrays: ArrayReader | Cutter, y: Any) -> Any:
    """The mask that a value of `observed` stands for, true where there is data.

    **Arguments:** `spec`, an array, or `{ bad = FILE, bits = [0, 3] }`: whole numbers, bad where one of these bits is
    set, counted from 0 for the lowest; `flags = [1, 8]` are the same bits by their values; without either everything
    but 0 is bad; `y`, the value for the data.

    **Raises:** `ProblemError`.
    """
    if not isinstance(spec, dict) or "bad" not in spec:
        found = arrays.open(spec, y)
        return replace(found, unit=None) if isinstance(found, Opened) else found  # that of flags means nothing
    require_known(spec, _KEYS)
    with located("bad"):
        found = arrays.open(spec["bad"], y)
        opened = found if isinstance(found, Opened) else Opened(np.asarray(found))
        values = np.asarray(opened.values)
        if values.dtype.kind == "f" and np.array_equal(values, np.round(values)):
            values = values.astype(np.int64)
        if values.dtype.kind not in "biu":
            raise ProblemError([f"expected whole numbers, got values of type {values.dtype}"])
    wanted = _bits(spec)
    bad = values != 0 if wanted is None else (values.astype(np.int64) & wanted) != 0
    if opened.mask is not None:
        bad = bad | opened.mask
    return ~bad


def _bits(spec: dict[str, Any]) -> int | None:
    if "bits" in spec and "flags" in spec:
        raise ProblemError(["give 'bits', their numbers from 0, or 'flags', their values"])
    for key in ("bits", "flags"):
        if key not in spec:
            continue
        said = spec[key]
        if not isinstance(said, list) or not all(type(x) is int and x >= 0 for x in said):
            raise ProblemError([f"{key}: expected a list of whole numbers, got {said!r}"])
        if key == "bits" and any(x > 62 for x in said):
            raise ProblemError([f"bits: numbers of bits are 0 to 62, got {max(said)}; values of bits are 'flags'"])
        if key == "flags" and any(x.bit_count() != 1 for x in said):
            raise ProblemError([f"flags: expected powers of two, got {said}; numbers of bits are 'bits'"])
        found = 0
        for x in said:
            found |= 1 << x if key == "bits" else x
        return found
    return None
