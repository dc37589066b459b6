"""NetCDF, through xarray."""

from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats.conventions import decoded
from dichroic.formats.heaps import open_hdf5
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_hdf5, check_size

__all__ = ["NetCDF", "open_array"]


class NetCDF(Reader):
    """A variable, with its dimensions, coordinates and unit; fill values are missing data."""

    suffixes = ("nc", "nc4", "netcdf")
    key = "variable"
    library = ("xarray", "xarray")

    variable: str | None = None
    """Its name (default: the only one)."""
    dims: list[str] | None = None
    """The order of the dimensions, observations first (default: as in the file)."""

    def read(self, path: Path) -> Opened:
        xarray = self.load(path)
        with open(path, "rb") as file:
            classic = file.read(3) == b"CDF"
        if not classic:
            self._check(path)
        with xarray.open_dataset(path, engine="scipy" if classic else "h5netcdf", decode_times=False) as data:
            known = [str(name) for name in data.data_vars]
            name = known[0] if self.variable is None and len(known) == 1 else self.variable
            if name not in known:
                raise missing_key(path, name, known)
            with located(f"'{path.name}:{name}'"):
                check_size(int(data[name].nbytes), path.stat().st_size)
            return open_array(data[name] if self.dims is None else _ordered(data[name], self.dims), "netcdf")

    def _check(self, path: Path) -> None:
        import h5py

        self.load(path, "h5netcdf")
        with open_hdf5(path) as file:
            name = self.variable
            for key, found in file.items():  # coordinates are read when the file is opened
                if isinstance(found, h5py.Dataset) and found.nbytes:
                    with located(f"'{path.name}:{key}'"):
                        wanted = found.dtype.kind != "O" and key == (name or key)
                        if wanted or (found.is_scale and not _is_dimension(found)):
                            check_hdf5(found, path, numbers=wanted)


def _is_dimension(found: Any) -> bool:
    """Of NetCDF 4, a data set that stands for a length alone."""
    return bytes(found.attrs.get("NAME", b"")).startswith(b"This is a netCDF dimension but not")


def _ordered(array: Any, dims: list[str]) -> Any:
    if sorted(map(str, array.dims)) != sorted(dims):
        raise ProblemError([f"dims: expected {list(map(str, array.dims))} in some order, got {dims}"])
    return array.transpose(*dims)


def open_array(array: Any, kind: str = "") -> Opened:
    """A `DataArray` of xarray with its dimensions, its coordinates along them and its unit; decoded, if it was not."""
    values, unit = decoded(np.asarray(array.values), array.attrs)
    return Opened(
        values,
        unit=unit,
        axes=tuple(_axis(array, dim) for dim in array.dims),
        kind=kind,
        shared={"attrs": dict(array.attrs), "name": str(getattr(array, "name", "") or "")} if kind else {},
    )


def _axis(array: Any, dim: Any) -> Axis:
    coordinates = getattr(array, "coords", {})
    if dim not in coordinates:
        return Axis(str(dim))
    found = coordinates[dim]
    return Axis(str(dim), np.asarray(found.values), unit=str(found.attrs.get("units", "")))
