"""A budget of memory: what is larger than its share of it lies in files, and is gone through block by block.

Such arrays are arrays as all others, of pages that are read when they are looked at and given back after every block:
nothing that uses them by index need know. Those that are read lie in the user's own file where that holds plain
numbers, and else, like those that are made, in an unnamed one in the folder for temporary files (`TMPDIR`).

Without a budget everything is in memory, and a block is all there is.
"""

import ctypes
import mmap
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from dichroic.faults import ProblemError

__all__ = [
    "blocks",
    "budget",
    "by_rows",
    "copied",
    "dense",
    "entries",
    "fits",
    "limit",
    "mapped",
    "release",
    "rows",
    "stacked",
    "zeros",
]

_SHARE = 32  # of the budget: one array in memory, or one block; some ten of them are alive at a time
LEAST = 512 << 20  # bytes: JAX and its programs alone take about 400 MB
_UNITS = {"": 1, "b": 1, **{f"{unit}b": 10**power for unit, power in zip("kmgt", (3, 6, 9, 12), strict=True)}}
_UNITS |= {f"{unit}ib": 1024**power for power, unit in enumerate("kmgt", 1)}

_SOON = 0.2  # seconds: looking through all heaps takes some
_WHOLE = -3, 1 << 20  # M_MMAP_THRESHOLD: freed arrays from that size on go back to the system, and not into a heap

_budget: int | None = None
_trim: Callable[[int], Any] = int  # gives freed memory back to the system, where that is known how
_trimmed = 0.0
_maps: WeakSet[mmap.mmap] = WeakSet()


def limit(size: str | int | None) -> None:
    """Sets the budget of this process, before data are read: bytes, or text such as `2GB`; None for no limit.

    **Raises:** `ProblemError` for what is no size, and for less than JAX itself takes.
    """
    global _budget, _trim
    _budget = None if size is None else _bytes(size)
    if _budget is not None:
        with suppress(AttributeError, OSError, TypeError):  # there is none but in the C library of GNU
            ctypes.CDLL(None).mallopt(*_WHOLE)
            _trim = ctypes.CDLL(None).malloc_trim


def budget() -> int | None:
    """The budget in bytes, None for no limit."""
    return _budget


def fits(size: int) -> bool:
    """Whether an array of so many bytes is to be in memory."""
    return _budget is None or size <= _budget // _SHARE


def entries(usual: int) -> int:
    """How many numbers of double precision are kept at once, where without a budget `usual` are."""
    return usual if _budget is None else min(usual, _budget // _SHARE // 8)


def dense(side: int, most: int) -> bool:
    """Whether matrices of so many numbers a side are made, where without a budget they are up to `most`."""
    return side <= most and fits(8 * side**2)


def blocks(n: int, each: int) -> Iterator[slice]:
    """The rows of something that takes `each` bytes a row, so many at a time that a block fits."""
    most = n if _budget is None else max(1, _budget // _SHARE // max(each, 1))
    for begin in range(0, n, max(most, 1)):
        yield slice(begin, min(begin + most, n))
        release()


def zeros(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of zeros, to be filled.

    **Raises:** `OSError` where there is no room for its file.
    """
    dtype, size = np.dtype(dtype), prod(shape) * np.dtype(dtype).itemsize
    if fits(size):
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="dichroic-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here: later, it kills
        else:
            file.truncate(size)
        return _array(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_WRITE), shape, dtype)


def mapped(path: Path, shape: Sequence[int], dtype: Any, offset: int) -> np.ndarray:
    """An array that lies in a file as plain numbers, from an `offset` on; read-only."""
    begin = offset % mmap.ALLOCATIONGRANULARITY
    size = begin + prod(shape) * np.dtype(dtype).itemsize
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=offset - begin)
    return _array(pages, shape, np.dtype(dtype), begin)


def copied(source: Any) -> np.ndarray:
    """Whatever has a shape, a type and rows by index, as an array."""
    shape, dtype = tuple(source.shape), np.dtype(source.dtype)
    if not shape or fits(prod(shape) * dtype.itemsize):
        return np.asarray(source[...])
    found = zeros(shape, dtype)
    for block in blocks(shape[0], prod(shape[1:]) * dtype.itemsize):
        found[block] = source[block]
    return found


def rows(x: Any, index: Any) -> Any:
    """`x[index]`, for rows of an array."""
    if type(x) is not np.ndarray or not isinstance(index, np.ndarray) or not x.ndim:
        return x[index]
    n = int(np.count_nonzero(index)) if index.dtype == bool else index.size
    each = prod(x.shape[1:]) * x.dtype.itemsize
    if index.ndim != 1 or fits(n * each):
        found = x[index]
        if not fits(x.nbytes):
            release()  # a system maps what lies beside each row, too
        return found
    index = np.flatnonzero(index) if index.dtype == bool else index
    found = zeros((n, *x.shape[1:]), x.dtype)
    for block in blocks(n, each):
        found[block] = x[index[block]]
    return found


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays after each other."""
    if len(parts) == 1 or fits(sum(part.nbytes for part in parts)):
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    begin, found = 0, zeros((sum(map(len, parts)), *parts[0].shape[1:]), np.result_type(*parts))
    for part in parts:
        for block in blocks(len(part), part[:1].nbytes):
            found[begin + block.start : begin + block.stop] = part[block]
        begin += len(part)
    return found


def by_rows(function: Callable[..., np.ndarray], *arrays: Any) -> np.ndarray:
    """`function(*arrays)`, which does with every row the same, block by block."""
    n, each = len(arrays[0]), sum(x[:1].nbytes for x in arrays)
    found: np.ndarray | None = None
    for block in blocks(n, each):
        part = function(*(x[block] for x in arrays))
        if len(part) == n:
            return part
        found = zeros((n, *part.shape[1:]), part.dtype) if found is None else found
        found[block] = part
    return function(*arrays) if found is None else found


def release() -> None:
    """Gives back the pages of files, which are read again when they are looked at again, and freed memory."""
    global _trimmed
    if _budget is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    if (now := time.monotonic()) - _trimmed > _SOON:
        _trimmed = now
        _trim(0)
    for pages in list(_maps):
        pages.madvise(mmap.MADV_DONTNEED)


def _array(pages: mmap.mmap, shape: Sequence[int], dtype: np.dtype, begin: int = 0) -> np.ndarray:
    _maps.add(pages)
    return np.frombuffer(pages, dtype, prod(shape), begin).reshape(shape)


def _bytes(size: str | int) -> int:
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", str(size).lower())
    try:
        number = float(found[1]) * _UNITS[found[2]] if found else 0.0
    except (ValueError, KeyError):
        number = 0.0
    if not number:
        raise ProblemError([f"memory: expected a size such as 2GB, got '{size}'"])
    if number < LEAST:
        raise ProblemError([f"memory: JAX and its programs take about 400 MB; give at least 512MiB, got {size}"])
    return int(number)
