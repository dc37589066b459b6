"""Opening HDF5 files whose strings are in order: the library goes round for ever in some that are not."""

import mmap
from pathlib import Path
from typing import Any

from dichroic.faults import ProblemError

__all__ = ["open_hdf5"]

_MARK = b"GCOL"
_LARGEST = 1 << 30  # bytes, of files that are gone through: in larger ones it would take long
_HEADER = 16  # bytes, of a collection of strings and of each of its objects


def open_hdf5(path: Path) -> Any:
    """The file, to be read, as an `h5py.File`.

    **Raises:** `ProblemError` for a free object without a size among its strings, which the library never gets past;
    `OSError` as `h5py` does.
    """
    import h5py

    with open(path, "rb") as file:
        if 0 < file.seek(0, 2) <= _LARGEST:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _check(content)
    return h5py.File(path, "r")


def _check(content: mmap.mmap) -> None:
    """Goes through every global heap collection (version 1, HDF5 File Format Specification, III.E)."""
    begin = content.find(_MARK)
    while begin >= 0:
        end = begin + _number(content, begin + 8, 8)
        if content[begin + 4 : begin + 8] == b"\x01\0\0\0" and end <= len(content):
            _go_through(content, begin + _HEADER, end)
        begin = content.find(_MARK, begin + 1)


def _go_through(content: mmap.mmap, place: int, end: int) -> None:
    while place + _HEADER <= end:
        index, size = _number(content, place, 2), _number(content, place + 8, 8)
        if not index and not size:
            raise ProblemError(["strings in it are damaged: a free place without a size; get the file anew"])
        place += size if not index else _HEADER + (size + 7) // 8 * 8  # of free places the header counts


def _number(content: mmap.mmap, begin: int, size: int) -> int:
    return int.from_bytes(content[begin : begin + size], "little")
