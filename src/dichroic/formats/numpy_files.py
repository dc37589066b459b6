"""NumPy's files."""

import zipfile
from pathlib import Path

import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError, located
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_size

__all__ = ["NPY", "NPZ"]


class NPZ(Reader):
    """One array of an archive."""

    suffixes = ("npz",)
    key = "array"

    array: str | None = None

    def read(self, path: Path) -> Opened:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        if self.array not in sizes:
            raise missing_key(path, self.array, sizes)
        with located(f"'{path.name}:{self.array}'"):
            check_size(sizes[self.array], path.stat().st_size)
        with np.load(path, allow_pickle=False) as archive:
            return Opened(archive[self.array])


class NPY(Reader):
    """The array of a file."""

    suffixes = ("npy",)
    key = "array"

    array: str | None = None

    def read(self, path: Path) -> Opened:
        if self.array is not None:
            raise ProblemError([f"'{path.name}' holds one array and takes no key, got '{self.array}'"])
        # a map of a file that is too short is refused
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if memory.fits(found.nbytes) or not found.flags.c_contiguous or not found.dtype.isnative:
            return Opened(np.array(found))
        return Opened(memory.mapped(path, found.shape, found.dtype, found.offset))
