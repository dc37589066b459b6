"""What a separation came to: posterior draws of every source of every observation, in memory or in a Zarr store."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, among
from dichroic.formats import Estimates, Labels, ViewResults, as_dataset
from dichroic.run.folder import RunError
from dichroic.run.labels import read_labels
from dichroic.run.separation_files import Stored, described, in_words

__all__ = ["Separation"]


@dataclass(frozen=True)
class Separation:
    """Posterior draws, in the user's units.

    **Fields:** `samples`, `{view: {source: (n, draws, ...)}}` (Zarr arrays when read from disk); `chi_square`, `{view:
    (n, draws)}`, the residual of each draw per observed value, 1 on average for an exact posterior, NaN where not all
    sources of the view were estimated; `diverged`, `{view: (n, draws)}`, draws that are not to be used; `evaluations`,
    network evaluations per draw and source, those that all draws share included; `point`, true for point estimates in
    place of draws: one per observation, without a spread; `means` and `appearances`, `{view: {source: (n, ...)}}`,
    posterior means, and those as the view shows them; `shares`, `{view: {source: share}}`, the Monte-Carlo share of the
    squared error of the means, 0 for exact ones. These three are empty where they were not kept (older stores).
    `labels`, what the observations of a view and their entries are called; `units`, of the sources; `said`, where the
    draws came from, in words; `instrument`, `{view: {name: (n, draws, ...)}}`, what was drawn of its unknowns
    beside the sources.
    """

    samples: Mapping[str, Mapping[str, Any]]
    chi_square: Mapping[str, np.ndarray]
    diverged: Mapping[str, np.ndarray]
    evaluations: int
    point: bool = False
    means: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    appearances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    instrument: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def draws(self, view: str, source: str) -> np.ndarray:
        """All draws of a source, NaN where one diverged: shape `(n, draws, ...)`."""
        x = np.asarray(self.samples[view][source])
        bad = self.diverged[view].reshape(*self.diverged[view].shape, *[1] * (x.ndim - 2))
        return np.where(bad, np.nan, x) if bad.any() else x

    def mean(self, view: str, source: str) -> np.ndarray:
        """Posterior mean, shape `(n, ...)`: the one that was kept, or else the mean of the draws."""
        kept = self.means.get(view, {})
        return np.asarray(kept[source]) if source in kept else self._reduce(np.nanmean, view, source)

    def seen(self, view: str, source: str) -> np.ndarray:
        r"""Posterior mean of the source as the view shows it, :math:`A_s x_s`, of the shape of the data.

        What an operator takes away is guessed by the prior alone: where it blurs or hides, this is what is known well.

        **Raises:** `RunError` where it was not kept.
        """
        if source not in self.appearances.get(view, {}):
            raise RunError(f"this separation does not hold '{source}' as view '{view}' shows it; separate anew")
        return np.asarray(self.appearances[view][source])

    def std(self, view: str, source: str) -> np.ndarray:
        """Posterior standard deviation, shape `(n, ...)`; NaN where there are fewer than two draws."""
        return self._reduce(_std, view, source)

    def quantile(self, view: str, source: str, q: float) -> np.ndarray:
        """Posterior quantile, shape `(n, ...)`."""
        return self._reduce(np.nanquantile, view, source, q=q)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name: `VIEW/SOURCE/mean`, `/std`, `/draws` and, where it was kept, `/seen`;
        `VIEW/chi_square`, `/diverged` and `/ids`; draws of what was unknown of the instrument, `VIEW/noise`, say.
        """
        found = {}
        for view, sources in self.samples.items():
            for source in sources:
                found[f"{view}/{source}/mean"] = self.mean(view, source)
                found[f"{view}/{source}/std"] = self.std(view, source)
                found[f"{view}/{source}/draws"] = self.draws(view, source)
                if source in self.appearances.get(view, {}):
                    found[f"{view}/{source}/seen"] = self.seen(view, source)
            if view in self.labels and self.labels[view].ids is not None:
                found[f"{view}/ids"] = np.asarray(self.labels[view].ids).astype(str)
            found |= {f"{view}/{name}": np.asarray(x) for name, x in self.instrument.get(view, {}).items()}
            found[f"{view}/chi_square"] = np.asarray(self.chi_square[view])
            found[f"{view}/diverged"] = np.asarray(self.diverged[view])
        return found

    def results(self) -> dict[str, ViewResults]:
        """Everything, by view and source, as files of the fields are written from."""
        found = {}
        for view, sources in self.samples.items():
            shown = self.appearances.get(view, {})
            estimates = {
                s: Estimates(
                    self.mean(view, s),
                    self.std(view, s),
                    self.draws(view, s),
                    self.seen(view, s) if s in shown else None,
                    self.units.get(s, ""),
                )
                for s in sources
            }
            checks = np.asarray(self.chi_square[view]), np.asarray(self.diverged[view])
            found[view] = ViewResults(estimates, self.labels.get(view, Labels()), *checks)
        return found

    def to_xarray(self, view: str | None = None) -> Any:
        """A `Dataset` of a view (default: of the only one), or a `DataTree` of all of them: dimensions, coordinates,
        identifiers and units have their names, draws the dimensions `chain` and `draw` that arviz looks for.

        **Raises:** `RunError` for a view that is not there; `ProblemError` where xarray is not installed.
        """
        if view is not None and view not in self.samples:
            raise RunError(f"no view '{view}'; there are: {among(view, self.samples)}")
        found = self.results()
        if view is None and len(found) > 1:
            import xarray

            return xarray.DataTree.from_dict({name: as_dataset(name, one, self.said) for name, one in found.items()})
        view = next(iter(found)) if view is None else view
        return as_dataset(view, found[view], self.said)

    def to_arviz(self, view: str | None = None) -> Any:
        """The `InferenceData` of a view (default: of the only one): draws of all sources, complex ones as their parts,
        in `posterior`; their residuals and which are not to be used, `diverging`, in `sample_stats`.

        **Raises:** `RunError` for a view that is not there, and where there are several and none is named;
        `ProblemError` where arviz is not installed.
        """
        try:
            from arviz import InferenceData
        except ImportError:
            raise ProblemError(["inference data need arviz: pip install arviz"]) from None
        found = self.results()
        if view not in found and (view is not None or len(found) > 1):
            raise RunError(f"no view '{view}'; say which: {among(view, found)}")
        view = next(iter(found)) if view is None else view
        data = as_dataset(view, found[view], self.said, parts=True)
        stats = data[["chi_square", "diverged"]].rename(diverged="diverging")
        return InferenceData(posterior=data[list(found[view].sources)], sample_stats=stats)

    def _reduce(self, statistic: Callable[..., Any], view: str, source: str, **options: Any) -> np.ndarray:
        with warnings.catch_warnings():
            # observations none of whose draws is usable are NaN, and say so in `diverged`
            warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN|Degrees of freedom", RuntimeWarning)
            return statistic(self.draws(view, source), axis=1, **options)

    @classmethod
    def open(cls, path: str | Path) -> "Separation":
        """Reads a Zarr store written by `separate`, without loading the draws.

        **Raises:** `RunError` when it is damaged, incomplete, newer than this version or not a separation.
        """
        import zarr

        path = Path(path)
        with in_words(path):
            content = described(path)
            root = zarr.open_group(str(path), mode="r", zarr_format=3, use_consolidated=False)

            def stored(name: str) -> Stored:
                return Stored(root[name], path)

            def every(kind: str) -> dict[str, dict[str, Stored]]:
                return {v: {s: stored(name) for s, name in known.items()} for v, known in content.get(kind, {}).items()}

            return cls(
                every("samples"),
                {v: np.asarray(stored(f"{group}/chi_square")) for v, group in content["views"].items()},
                {v: np.asarray(stored(f"{group}/diverged")) for v, group in content["views"].items()},
                int(content["evaluations"]),
                bool(content.get("point", False)),
                every("means"),
                every("appearances"),
                content.get("shares", {}),
                {view: read_labels(said) for view, said in content.get("labels", {}).items()},
                content.get("units", {}),
                content.get("said", {}),
                every("instrument"),
            )


def _std(x: np.ndarray, axis: int) -> np.ndarray:
    """In double precision: single does not hold the squares of large units."""
    found = np.nanstd(x.astype(np.result_type(x.dtype, float)), axis=axis, ddof=1)
    return found.astype(np.finfo(x.dtype).dtype)
