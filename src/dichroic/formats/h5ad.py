"""Annotated matrices of cells and genes, through anndata."""

from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats.heaps import open_hdf5
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.selection import chosen
from dichroic.formats.stores import check_hdf5, check_size

__all__ = ["H5AD"]


class H5AD(Reader):
    """Counts of cells, dense or sparse, with the names of cells and genes."""

    suffixes = ("h5ad",)
    key = "layer"
    library = ("anndata.io", "anndata")

    layer: str | None = None
    """A layer, or `raw/X` (default: `X`)."""
    obs: str | dict[str, Any] | None = None
    """Which cells: `"condition == 'case'"`, or `{ condition = "case", batch = ["a", "b"] }` (default: all)."""
    genes: list[str] | None = None
    """Which genes, by name, in that order (default: all)."""

    def read(self, path: Path) -> Opened:

        read_elem = self.load(path).read_elem
        with open_hdf5(path) as file:
            place = "X" if self.layer is None else self.layer if self.layer == "raw/X" else f"layers/{self.layer}"
            if place not in file:
                layers: Any = file.get("layers", {})
                raise missing_key(path, str(self.layer), [*layers, *(["raw/X"] if "raw/X" in file else [])])
            table = "raw/var" if place == "raw/X" else "var"
            for part in ("obs", table):
                if part not in file:
                    raise ProblemError([f"'{path.name}' has no '{part}': no annotated matrix"])
            _check(file, path, (place, "obs", table))
            obs, var = read_elem(file["obs"]), read_elem(file[table])
            with located(f"'{path.name}': obs"):
                rows = chosen(obs, self.obs)
            columns = self._genes(path, var)
            matrix = read_elem(file[place])
        if matrix.shape != (len(obs), len(var)):
            raise ProblemError([f"'{path.name}:{place}' has the shape {matrix.shape}, its names {len(obs), len(var)}"])
        if hasattr(matrix, "check_format"):  # places that are not there would be looked at all the same, and kill
            matrix.check_format(full_check=True)
        matrix = matrix[rows][:, columns]
        if hasattr(matrix, "toarray"):
            with located(f"'{path.name}:{place}'"):
                check_size(len(rows) * len(columns) * matrix.dtype.itemsize, path.stat().st_size)
            matrix = matrix.toarray()
        obs, var = obs.iloc[rows], var.iloc[columns]
        cells, genes = (Axis(name, np.asarray(t.index).astype(str)) for name, t in (("cell", obs), ("gene", var)))
        return Opened(
            np.asarray(matrix), axes=(cells, genes), kind="h5ad", columns=_columns(obs), shared={"var": _columns(var)}
        )

    def _genes(self, path: Path, var: Any) -> np.ndarray:
        if self.genes is None:
            return np.arange(len(var))
        if not var.index.is_unique:
            raise ProblemError([f"'{path.name}': genes cannot be chosen by name, for names are there twice"])
        found = var.index.get_indexer(self.genes)
        for name, place in zip(self.genes, found, strict=True):
            if place < 0:
                raise missing_key(path, name, map(str, var.index))
        return np.asarray(found)


def _columns(table: Any) -> dict[str, np.ndarray]:
    """Columns as arrays of numbers, true/false or text."""
    columns = {str(name): np.asarray(table[name]) for name in table.columns}
    return {name: x if x.dtype.kind in "biuf" else x.astype(str) for name, x in columns.items()}


def _check(file: Any, path: Path, parts: tuple[str, ...]) -> None:
    import h5py

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            with located(f"'{path.name}:{name}'"):
                check_hdf5(item, path, numbers=item.dtype.kind != "O")

    for part in parts:
        found = file[part]
        visit(part, found)
        if isinstance(found, h5py.Group):
            found.visititems(lambda name, item, part=part: visit(f"{part}/{name}", item))
