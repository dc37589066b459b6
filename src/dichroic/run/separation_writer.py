"""Writing a separation, one round of draws after the other, in memory or straight into a Zarr store."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dichroic import hosts, memory
from dichroic.formats import Labels
from dichroic.problem import as_complex
from dichroic.run.labels import describe_labels
from dichroic.run.separation import Separation
from dichroic.run.separation_files import SEPARATION, check_free, check_room, seal
from dichroic.store import file_names, whole

__all__ = ["SeparationWriter"]

_ROWS = 256  # observations in a chunk


class SeparationWriter:
    """Collects draws one round at a time, in memory or straight into a Zarr store; the sources `pairs` become complex.

    Used in a `with` statement, at the end of which the store appears under its name: what has it is whole. Of several
    processes the first makes the arrays, and each fills whole chunks of its own.
    """

    def __init__(
        self,
        path: Path | None,
        shapes: Mapping[str, tuple[int, Mapping[str, tuple[int, ...]]]],
        draws: int,
        overwrite: bool = False,
        point: bool = False,
        pairs: Collection[str] = (),
        labels: Mapping[str, Labels] | None = None,
        units: Mapping[str, str] | None = None,
        said: Mapping[str, str] | None = None,
    ):
        self.path, self.evaluations, self.point, self._root = path, 0, point, None
        self._pairs = set(pairs)
        self.labels, self.units, self.said = dict(labels or {}), dict(units or {}), dict(said or {})
        self._files, self._shapes, self._draws = ExitStack(), shapes, draws
        self.samples: dict[str, dict[str, Any]] = {}
        self.chi_square: dict[str, Any] = {}
        self.diverged: dict[str, Any] = {}
        self.means: dict[str, dict[str, Any]] = {}
        self.appearances: dict[str, dict[str, Any]] = {}
        self.shares: dict[str, dict[str, float]] = {}
        self.instrument: dict[str, dict[str, Any]] = {}
        if path is not None:
            check_free(path, overwrite)
            check_room(path, sum(4 * n * draws * prod(x) for n, xs in shapes.values() for x in xs.values()))

    def __enter__(self) -> "SeparationWriter":
        if self.path is not None:
            import zarr

            if hosts.is_first():
                self._place = self._files.enter_context(whole(self.path))
                self._root = zarr.open_group(str(self._place), mode="w")
                hosts.told(str(self._place))
            else:
                self._root = zarr.open_group(hosts.told(None), mode="r+")
        self._groups = file_names(self._shapes)
        self._names = {
            view: {s: f"{self._groups[view]}/samples/{name}" for s, name in file_names(sources).items()}
            for view, (_, sources) in self._shapes.items()
        }
        for view, (n, sources) in self._shapes.items():
            self.samples[view] = {
                s: self._array(self._names[view][s], (n, self._draws, *shape[:-1]), "complex64", self._dims(view, s))
                if s in self._pairs
                else self._array(self._names[view][s], (n, self._draws, *shape), "float32", self._dims(view, s))
                for s, shape in sources.items()
            }
            self.chi_square[view] = self._array(f"{self._groups[view]}/chi_square", (n, self._draws), "float32")
            self.diverged[view] = self._array(f"{self._groups[view]}/diverged", (n, self._draws), "bool")
        return self

    def __exit__(self, *error: Any) -> None:
        if self._root is not None and error[0] is None:
            hosts.wait()
        if self._root is not None and error[0] is None and hosts.is_first():
            content = {"views": self._groups, "samples": self._names, "evaluations": self.evaluations}
            content |= {"point": self.point, "shares": self.shares, "units": self.units, "said": self.said}
            content["labels"] = {view: describe_labels(labels) for view, labels in self.labels.items()}
            for kind, views in (("means", self.means), ("appearances", self.appearances)):
                content[kind] = {v: {s: self._name(v, kind, s) for s in kept} for v, kept in views.items()}
            content["instrument"] = {
                v: {name: f"{self._groups[v]}/instrument/{i}" for i, name in enumerate(kept)}
                for v, kept in self.instrument.items()
            }
            content["seal"] = seal(self._place)
            self._root.attrs.update(SEPARATION.mark(content))
        self._files.__exit__(*error)
        if self._root is not None and error[0] is None:
            hosts.wait()

    def own(self, n: int) -> slice:
        """The rows that this process fills: whole chunks."""
        return slice(0, n) if self._root is None else hosts.share(n, _ROWS)

    def write(self, view: str, draw: int, drawn: Any, rows: slice | None = None) -> None:
        """One draw of every observation of a view, or of those of the `rows`, which no other process writes."""
        own, at = self._places(len(drawn.diverged), rows)
        for s, x in drawn.samples.items():
            self.samples[view][s][at, draw] = as_complex(x[own]) if s in self._pairs else x[own]
        for number, (name, x) in enumerate(drawn.instrument.items()):
            kept = self.instrument.setdefault(view, {})
            if name not in kept:
                shape = len(x), self._draws, *x.shape[1:]
                kept[name] = self._array(f"{self._groups[view]}/instrument/{number}", shape, "float32")
            kept[name][at, draw] = x[own]
        self.chi_square[view][at, draw] = drawn.chi_square[own]
        self.diverged[view][at, draw] = drawn.diverged[own]
        self.evaluations = max(self.evaluations, round(drawn.evaluations(self._draws)))

    def average(
        self,
        view: str,
        means: Mapping[str, Any],
        appearances: Mapping[str, Any],
        shares: Mapping[str, float] | None = None,
        rows: slice | None = None,
    ) -> None:
        """The posterior means of a view, those as it shows them, and their Monte-Carlo shares; or those of `rows`, once
        `prepare` has made the arrays.
        """
        means = {s: as_complex(x) if s in self._pairs else x for s, x in means.items()}
        if rows is None:
            self.prepare(view, means, appearances)
        for kind, found in (("means", means), ("appearances", appearances)):
            for s, x in found.items():
                own, at = self._places(len(x), rows)
                getattr(self, kind)[view][s][at] = x[own]
        self.shares[view] = dict(shares or {})

    def prepare(self, view: str, means: Mapping[str, Any], appearances: Mapping[str, Any]) -> None:
        """Makes the arrays of a view's means; arguments have their shapes and types, but for the number of rows."""
        for kind, found in (("means", means), ("appearances", appearances)):
            kept = getattr(self, kind)[view] = {}
            for s, x in found.items():
                dtype = "complex64" if np.issubdtype(x.dtype, np.complexfloating) else "float32"
                shape = (self._shapes[view][0], *x.shape[1:])
                kept[s] = self._array(self._name(view, kind, s), shape, dtype, self._dims(view, s), 1)

    def finish(self) -> Separation:
        """The result."""
        if self.path is not None:
            return Separation.open(self.path)
        shown = self.means, self.appearances, self.shares, self.labels, self.units, self.said
        found = self.samples, self.chi_square, self.diverged, self.evaluations, self.point
        return Separation(*found, *shown, instrument=self.instrument)

    def _name(self, view: str, kind: str, source: str) -> str:
        return self._names[view][source].replace("/samples/", f"/{kind}/", 1)

    def _dims(self, view: str, source: str) -> list[str]:
        """Names of the axes of one sample, by which xarray opens the store."""
        known = self.labels.get(view, Labels())
        return [known.axis(i).name or f"{source}_axis{i}" for i in range(len(self._shapes[view][1][source]))]

    def _array(self, name: str, shape: tuple[int, ...], dtype: str, dims: Collection[str] = (), axes: int = 2) -> Any:
        if self._root is None:
            return memory.zeros(shape, dtype)
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        if not hosts.is_first():
            hosts.wait()
            with zarr.config.set({"array.write_empty_chunks": True}):
                return self._root[name]
        array = self._root.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(max(min(shape[0], _ROWS), 1), *[1] * (axes - 1), *shape[axes:]),
            compressors=[ZstdCodec(), Crc32cCodec()],
            config={"write_empty_chunks": True},  # so that one that is not there is missing
            dimension_names=_unique(["observation", "draw"][:axes], dims, len(shape)),
        )
        hosts.wait()
        return array

    def _places(self, n: int, rows: slice | None) -> tuple[slice, slice]:
        """Which of `n` rows this process writes, and to where."""
        own = self.own(n)
        return (own, own) if rows is None else (slice(0, n), rows)


def _unique(first: list[str], rest: Collection[str], axes: int) -> list[str]:
    """Names of all axes of an array, none of them twice."""
    found = list(first)
    for i, name in enumerate([*rest, *map("axis{}".format, range(axes))][: axes - len(first)]):
        found.append(name if name not in found else f"{name}_{i}")
    return found
