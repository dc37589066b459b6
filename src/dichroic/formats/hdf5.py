"""HDF5 files."""

from pathlib import Path

from dichroic import memory
from dichroic.faults import located
from dichroic.formats.conventions import decoded
from dichroic.formats.heaps import open_hdf5
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_hdf5

__all__ = ["HDF5"]


class HDF5(Reader):
    """A data set, decoded as its attributes say, with its unit."""

    suffixes = ("h5", "hdf5")
    key = "array"

    array: str | None = None

    def read(self, path: Path) -> Opened:
        import h5py

        key = self.array
        with open_hdf5(path) as file:
            found = file.get(key) if key else None
            if key is None or not isinstance(found, h5py.Dataset):
                known: list[str] = []
                file.visititems(lambda name, item: known.append(name) if isinstance(item, h5py.Dataset) else None)
                raise missing_key(path, key, known)
            with located(f"'{path.name}:{key}'"):
                check_hdf5(found, path)
                said = dict(found.attrs)
            plain = None if memory.fits(found.nbytes) or not found.dtype.isnative else found.id.get_offset()
            if plain is not None:  # not in chunks, so as it is in memory
                values = memory.mapped(path, found.shape, found.dtype, plain)
            else:
                values = memory.copied(found)
        with located(f"'{path.name}:{key}'"):
            values, unit = decoded(values, said)
            return Opened(values, unit=unit)
