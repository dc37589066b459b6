"""Results as data sets of xarray."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import whole

__all__ = ["WriteNetCDF", "as_dataset"]


class WriteNetCDF(Writer):
    """A group for every view, as :func:`as_dataset` has it; without groups where there is one view."""

    suffixes = ("nc",)
    library = ("h5netcdf", "h5netcdf")

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        self.load()
        found = {name: as_dataset(name, view, said, parts=True) for name, view in views.items()}
        alone = len(found) == 1
        with whole(path) as temporary:
            for i, (name, data) in enumerate(found.items()):
                group = None if alone else name
                data.to_netcdf(temporary, mode="a" if i else "w", group=group, engine="h5netcdf", invalid_netcdf=False)
        return [path], ""


def as_dataset(name: str, view: ViewResults, said: Mapping[str, str], parts: bool = False) -> Any:
    """A `Dataset` of a view: `SOURCE` with the dimensions `chain`, `draw`, `observation` and those of a sample,
    `SOURCE_mean`, `SOURCE_std` and `SOURCE_seen`; identifiers, coordinates and units are kept.

    **Arguments:** `parts`, whether complex numbers become a last dimension of real and imaginary part.

    **Raises:** `ProblemError` where xarray is not installed.
    """
    try:
        xarray = import_module("xarray")
    except ImportError:
        raise ProblemError(["a data set of xarray needs xarray: pip install xarray h5netcdf"]) from None
    coordinates: dict[str, Any] = {"observation": ("observation", view.ids)}
    variables: dict[str, Any] = {}
    shared = {found.seen.shape[1:] for found in view.sources.values() if found.seen is not None}
    event = next(iter(shared)) if len(shared) == 1 else None

    def keep(variable: str, dims: tuple[str, ...], x: np.ndarray, unit: str = "") -> None:
        if parts and np.iscomplexobj(x):
            dims, x = (*dims, "part"), np.stack([np.real(x), np.imag(x)], -1)
            coordinates["part"] = ("part", np.asarray(["real", "imaginary"]))
        variables[variable] = (dims, x, {"units": unit} if unit else {})

    def names_of(source: str, shape: tuple[int, ...]) -> tuple[str, ...]:
        if event is not None and shape != event:
            return tuple(f"{source}_axis{i}" for i in range(len(shape)))
        dims = []
        for i, size in enumerate(shape):
            axis = view.labels.axis(i)
            dim = axis.name or f"axis{i}"
            dims.append(dim if dim not in (*dims, "observation", "draw", "chain") else f"{dim}_{i}")
            if (values := axis.coordinates(size)) is not None:
                coordinates[dims[-1]] = (dims[-1], values, {"units": axis.unit} if axis.unit else {})
        return tuple(dims)

    for source, found in view.sources.items():
        dims = names_of(source, found.mean.shape[1:])
        unit = found.unit or view.labels.unit
        keep(source, ("chain", "draw", "observation", *dims), np.moveaxis(found.draws, 1, 0)[None], unit)
        keep(f"{source}_mean", ("observation", *dims), found.mean, unit)
        keep(f"{source}_std", ("observation", *dims), found.std, unit)
        if found.seen is not None:
            seen = names_of(source, found.seen.shape[1:])
            keep(f"{source}_seen", ("observation", *seen), found.seen, view.labels.unit)
    coordinates |= {"chain": ("chain", np.zeros(1, int)), "draw": ("draw", np.arange(view.chi_square.shape[1]))}
    keep("chi_square", ("chain", "draw", "observation"), view.chi_square.T[None])
    keep("diverged", ("chain", "draw", "observation"), view.diverged.T[None].astype(np.int8))
    return xarray.Dataset(variables, coordinates, {"view": name, **said})
