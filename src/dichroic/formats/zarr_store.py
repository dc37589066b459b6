"""Zarr stores."""

from pathlib import Path
from typing import Any

from dichroic import memory
from dichroic.faults import ProblemError, located
from dichroic.formats.conventions import decoded
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_zarr, check_zarr_metadata

__all__ = ["Zarr"]


class Zarr(Reader):
    """An array of a store, or a store that is one array, decoded as its attributes say, with its unit."""

    suffixes = ("zarr",)
    key = "array"

    array: str | None = None

    def read(self, path: Path) -> Opened:
        with located(f"'{path.name}'"):
            if not path.is_dir():
                raise ProblemError(["a Zarr store is a folder"])
            check_zarr_metadata(path)
        import zarr

        root, key = zarr.open(str(path), mode="r"), self.array
        if isinstance(root, zarr.Array):
            if key is not None:
                raise ProblemError([f"'{path.name}' holds one array and takes no key, got '{key}'"])
            with located(f"'{path.name}'"):
                check_zarr(root, path)
                return _opened(root)
        found = root.get(key) if key else None
        if not isinstance(found, zarr.Array):
            known = sorted(name for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array))
            raise missing_key(path, key, known)
        with located(f"'{path.name}:{key}'"):
            check_zarr(found, path / str(found.path).strip("/"))
            return _opened(found)


def _opened(array: Any) -> Opened:
    said = dict(array.attrs)
    if "_ARRAY_DIMENSIONS" in said and array.fill_value is not None:  # by xarray, as version 2 of the format
        said.setdefault("_FillValue", array.fill_value)
    values, unit = decoded(memory.copied(array), said)
    return Opened(values, unit=unit)
