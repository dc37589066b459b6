"""Separating: posterior draws of every source of every observation, in memory or as a Zarr store."""

import os
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.diffusion import Prior
from dichroic.em import SamplingConfig, conditional_of, draw_posterior
from dichroic.problem import Problem, as_complex
from dichroic.problem.faults import did_you_mean, names
from dichroic.run.folder import RunError

__all__ = ["Separation", "check_free", "separate", "write_npz"]

_FORMAT = "dichroic separation 1"


def separate(
    problem: Problem,
    priors: Mapping[str, Prior],
    *,
    key: PRNGKeyArray,
    draws: int = 8,
    sampling: SamplingConfig | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> "Separation":
    """Joint posterior draws of all sources of every observation, with any priors; nothing is fitted.

    With the amortised posterior, a conditional denoiser of every view is trained first, on draws of the priors and on
    the operators of the view; it serves all draws.

    **Arguments:** `draws`, per observation; `out`, a Zarr store to stream to, which appears when it is whole;
    `overwrite`, whether to replace the one that is there; `report(done, total)` is called now and then.

    **Raises:** `RunError` for a source without a prior, or of another shape, and when `out` is taken.
    """
    for s, source in problem.sources.items():
        if s not in priors:
            raise RunError(f"there is no prior for source '{s}'; there are: {names(priors)}{did_you_mean(s, priors)}")
        if priors[s].shape != source.real_shape:
            raise RunError(f"source '{s}' has shape {source.real_shape}, its prior {priors[s].shape}")
    shapes = {
        name: (len(view), {s: problem.sources[s].real_shape for s in view.mixing})
        for name, view in problem.views.items()
    }
    pairs = {s for s, source in problem.sources.items() if source.is_complex}
    writer = SeparationWriter(None if out is None else Path(out), shapes, draws, overwrite, pairs=pairs)
    sampling = sampling or SamplingConfig()
    total = sum(len(view) for view in problem.views.values()) * draws
    done = 0
    for number, (name, view) in enumerate(problem.views.items()):
        view_key = jax.random.fold_in(key, number)
        conditional = conditional_of(view, priors, sampling, view_key)
        for draw in range(draws):
            drawn = draw_posterior(
                view,
                priors,
                sampling,
                key=jax.random.fold_in(view_key, draw),
                conditional=conditional,
                report=None if report is None else lambda n, _, before=done: report(before + n, total),
            )
            writer.write(name, draw, drawn)
            done += len(view)
    return writer.finish()


@dataclass(frozen=True)
class Separation:
    """Posterior draws, in the user's units.

    **Fields:** `samples`, `{view: {source: (n, draws, ...)}}` (Zarr arrays when read from disk); `chi_square`, `{view:
    (n, draws)}`, the residual of each draw per observed value, 1 on average for an exact posterior, NaN where not all
    sources of the view were estimated; `diverged`, `{view: (n, draws)}`, draws that are not to be used; `evaluations`,
    network evaluations per draw and source; `point`, true for point estimates in place of draws: one per observation,
    without a spread.
    """

    samples: Mapping[str, Mapping[str, Any]]
    chi_square: Mapping[str, np.ndarray]
    diverged: Mapping[str, np.ndarray]
    evaluations: int
    point: bool = False

    def draws(self, view: str, source: str) -> np.ndarray:
        """All draws of a source, NaN where one diverged: shape `(n, draws, ...)`."""
        x = np.asarray(self.samples[view][source])
        bad = self.diverged[view].reshape(*self.diverged[view].shape, *[1] * (x.ndim - 2))
        return np.where(bad, np.nan, x) if bad.any() else x

    def mean(self, view: str, source: str) -> np.ndarray:
        """Posterior mean, shape `(n, ...)`."""
        return self._reduce(np.nanmean, view, source)

    def std(self, view: str, source: str) -> np.ndarray:
        """Posterior standard deviation, shape `(n, ...)`; NaN where there are fewer than two draws."""
        return self._reduce(np.nanstd, view, source, ddof=1)

    def quantile(self, view: str, source: str, q: float) -> np.ndarray:
        """Posterior quantile, shape `(n, ...)`."""
        return self._reduce(np.nanquantile, view, source, q=q)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name: `VIEW/SOURCE/mean`, `/std` and `/draws`; `VIEW/chi_square` and `/diverged`."""
        found = {}
        for view, sources in self.samples.items():
            for source in sources:
                found[f"{view}/{source}/mean"] = self.mean(view, source)
                found[f"{view}/{source}/std"] = self.std(view, source)
                found[f"{view}/{source}/draws"] = self.draws(view, source)
            found[f"{view}/chi_square"] = np.asarray(self.chi_square[view])
            found[f"{view}/diverged"] = np.asarray(self.diverged[view])
        return found

    def _reduce(self, statistic: Callable[..., Any], view: str, source: str, **options: Any) -> np.ndarray:
        with warnings.catch_warnings():
            # observations none of whose draws is usable are NaN, and say so in `diverged`
            warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN|Degrees of freedom", RuntimeWarning)
            return statistic(self.draws(view, source), axis=1, **options)

    @classmethod
    def open(cls, path: str | Path) -> "Separation":
        """Reads a Zarr store written by `separate`, without loading the draws."""
        import zarr

        root = zarr.open_group(str(path), mode="r")
        views = {name: group for name, group in root.groups()}
        return cls(
            {v: dict(group["samples"].arrays()) if "samples" in group else {} for v, group in views.items()},  # pyright: ignore
            {v: np.asarray(group["chi_square"]) for v, group in views.items()},
            {v: np.asarray(group["diverged"]) for v, group in views.items()},
            int(root.attrs["evaluations"]),  # pyright: ignore
            bool(root.attrs.get("point", False)),
        )


class SeparationWriter:
    """Collects draws one round at a time, in memory or straight into a Zarr store; the sources `pairs` become complex.

    The store is written under a temporary name and renamed at the end: what has its name is whole.
    """

    def __init__(
        self,
        path: Path | None,
        shapes: Mapping[str, tuple[int, Mapping[str, tuple[int, ...]]]],
        draws: int,
        overwrite: bool = False,
        point: bool = False,
        pairs: Collection[str] = (),
    ):
        self.path, self.evaluations, self.point, self._root = path, 0, point, None
        self._pairs = set(pairs)
        if path is not None:
            import zarr

            check_free(path, overwrite)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            self._root = zarr.open_group(str(self._temporary), mode="w")
        self.samples: dict[str, dict[str, Any]] = {}
        self.chi_square: dict[str, Any] = {}
        self.diverged: dict[str, Any] = {}
        for view, (n, sources) in shapes.items():
            self.samples[view] = {
                s: self._array(f"{view}/samples/{s}", (n, draws, *shape[:-1]), "complex64")
                if s in self._pairs
                else self._array(f"{view}/samples/{s}", (n, draws, *shape), "float32")
                for s, shape in sources.items()
            }
            self.chi_square[view] = self._array(f"{view}/chi_square", (n, draws), "float32")
            self.diverged[view] = self._array(f"{view}/diverged", (n, draws), "bool")

    def write(self, view: str, draw: int, drawn: Any) -> None:
        """One draw of every observation of a view."""
        for s, x in drawn.samples.items():
            self.samples[view][s][:, draw] = as_complex(x) if s in self._pairs else x
        self.chi_square[view][:, draw] = drawn.chi_square
        self.diverged[view][:, draw] = drawn.diverged
        self.evaluations = max(self.evaluations, drawn.cost.total)

    def finish(self) -> Separation:
        """The result."""
        if self._root is None or self.path is None:
            return Separation(self.samples, self.chi_square, self.diverged, self.evaluations, self.point)
        self._root.attrs["format"] = _FORMAT
        self._root.attrs["evaluations"] = self.evaluations
        if self.point:
            self._root.attrs["point"] = True
        if self.path.exists():
            shutil.rmtree(self.path)
        os.replace(self._temporary, self.path)
        return Separation.open(self.path)

    def _array(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        if self._root is None:
            return np.zeros(shape, dtype)
        chunks = (min(shape[0], 256), 1, *shape[2:])
        return self._root.create_array(name, shape=shape, dtype=dtype, chunks=chunks)


def check_free(path: Path, overwrite: bool = False) -> None:
    """Whether results may be written to a path: it is free, or holds results that are to be replaced.

    **Raises:** `RunError` otherwise.
    """
    if path.suffix not in ("", ".zarr", ".npz"):
        raise RunError(f"results are written as .zarr or .npz, not as '{path.suffix}': {path}")
    if not path.exists():
        return
    if not overwrite:
        raise RunError(f"{path} is there already; choose another name, or say --overwrite (overwrite=True)")
    if path.is_dir() and not _is_separation(path):
        raise RunError(f"{path} is a folder that dichroic has not written; it is not replaced")


def _is_separation(path: Path) -> bool:
    import zarr

    try:
        return zarr.open_group(str(path), mode="r").attrs.get("format") == _FORMAT
    except (OSError, ValueError):
        return False


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    os.replace(temporary, path)
