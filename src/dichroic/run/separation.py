"""What separating gives: posterior draws of every source of every observation, in memory or as a Zarr store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Separation"]


@dataclass(frozen=True)
class Separation:
    """Posterior draws, in the user's units.

    **Fields:** `samples`, `{view: {source: (n, draws, ...)}}` (Zarr arrays when read from disk); `chi_square`, `{view:
    (n, draws)}`, the residual of each draw per observed value, 1 on average for an exact posterior; `diverged`, `{view:
    (n, draws)}`, draws that are not to be used; `evaluations`, network evaluations per draw and source.
    """

    samples: Mapping[str, Mapping[str, Any]]
    chi_square: Mapping[str, np.ndarray]
    diverged: Mapping[str, np.ndarray]
    evaluations: int

    def draws(self, view: str, source: str) -> np.ndarray:
        """All draws of a source, NaN where one diverged: shape `(n, draws, ...)`."""
        x = np.asarray(self.samples[view][source])
        bad = self.diverged[view].reshape(*self.diverged[view].shape, *[1] * (x.ndim - 2))
        return np.where(bad, np.nan, x) if bad.any() else x

    def mean(self, view: str, source: str) -> np.ndarray:
        """Posterior mean, shape `(n, ...)`."""
        return np.nanmean(self.draws(view, source), axis=1)

    def std(self, view: str, source: str) -> np.ndarray:
        """Posterior standard deviation, shape `(n, ...)`."""
        return np.nanstd(self.draws(view, source), axis=1, ddof=1)

    def quantile(self, view: str, source: str, q: float) -> np.ndarray:
        """Posterior quantile, shape `(n, ...)`."""
        return np.nanquantile(self.draws(view, source), q, axis=1)

    @classmethod
    def open(cls, path: str | Path) -> "Separation":
        """Reads a Zarr store written by `separate`, without loading the draws."""
        import zarr

        root = zarr.open_group(str(path), mode="r")
        views = {name: group for name, group in root.groups()}
        return cls(
            {v: dict(group["samples"].arrays()) for v, group in views.items()},  # pyright: ignore
            {v: np.asarray(group["chi_square"]) for v, group in views.items()},
            {v: np.asarray(group["diverged"]) for v, group in views.items()},
            int(root.attrs["evaluations"]),  # pyright: ignore
        )


class SeparationWriter:
    """Collects draws one round at a time, in memory or straight into a Zarr store."""

    def __init__(self, path: Path | None, shapes: Mapping[str, tuple[int, Mapping[str, tuple[int, ...]]]], draws: int):
        self.path, self.evaluations = path, 0
        if path is None:
            self._root = None
        else:
            import zarr

            self._root = zarr.open_group(str(path), mode="w")
        self.samples: dict[str, dict[str, Any]] = {}
        self.chi_square: dict[str, Any] = {}
        self.diverged: dict[str, Any] = {}
        for view, (n, sources) in shapes.items():
            self.samples[view] = {
                s: self._array(f"{view}/samples/{s}", (n, draws, *shape), "float32") for s, shape in sources.items()
            }
            self.chi_square[view] = self._array(f"{view}/chi_square", (n, draws), "float32")
            self.diverged[view] = self._array(f"{view}/diverged", (n, draws), "bool")

    def write(self, view: str, draw: int, drawn: Any) -> None:
        """One draw of every observation of a view."""
        for s, x in drawn.samples.items():
            self.samples[view][s][:, draw] = x
        self.chi_square[view][:, draw] = drawn.chi_square
        self.diverged[view][:, draw] = drawn.diverged
        self.evaluations = max(self.evaluations, drawn.cost.total)

    def finish(self) -> Separation:
        """The result."""
        if self._root is not None and self.path is not None:
            self._root.attrs["format"] = "dichroic separation 1"
            self._root.attrs["evaluations"] = self.evaluations
            return Separation.open(self.path)
        return Separation(self.samples, self.chi_square, self.diverged, self.evaluations)

    def _array(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        if self._root is None:
            return np.zeros(shape, dtype)
        chunks = (min(shape[0], 256), 1, *shape[2:])
        return self._root.create_array(name, shape=shape, dtype=dtype, chunks=chunks)
