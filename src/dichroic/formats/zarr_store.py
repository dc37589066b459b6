"""Zarr stores."""

from pathlib import Path

from dichroic import memory
from dichroic.faults import ProblemError, located
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_zarr, check_zarr_metadata

__all__ = ["Zarr"]


class Zarr(Reader):
    """An array of a store, or a store that is one array."""

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
            return Opened(memory.copied(root))
        found = root.get(key) if key else None
        if not isinstance(found, zarr.Array):
            known = sorted(name for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array))
            raise missing_key(path, key, known)
        with located(f"'{path.name}:{key}'"):
            check_zarr(found, path / str(found.path).strip("/"))
        return Opened(memory.copied(found))
