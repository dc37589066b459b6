"""Separating: posterior draws of every source of every observation, in memory or as a Zarr store."""

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.diffusion import Prior
from dichroic.faults import did_you_mean, names
from dichroic.law import LearnedPosterior
from dichroic.posterior import Auto, Bound, Method, observation_keys, stand_in_mean
from dichroic.problem import Problem, View, as_complex
from dichroic.run.folder import RunError
from dichroic.run.mean import MeanOfDraws
from dichroic.settings import FitConfig
from dichroic.store import Format, StoreError, claim, file_names, reading, whole

__all__ = ["MOST_DRAWS", "Separation", "check_free", "separate", "write_npz"]

_SEPARATION = Format("dichroic separation", 2)
_FIRST = "dichroic separation 1"  # the mark of version 1, which had names of the user's for groups
_ROWS = 256  # observations in a chunk
MOST_DRAWS = 64  # of an observation, for its mean


def separate(
    problem: Problem,
    priors: Mapping[str, Prior],
    *,
    key: PRNGKeyArray,
    draws: int = 8,
    sampling: Method | None = None,
    share: float = FitConfig().mean_share,
    learned: Mapping[str, LearnedPosterior] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> "Separation":
    """Joint posterior draws of all sources of every observation, with any priors; nothing is fitted.

    The method is bound to every view once: what it chooses, factorises or trains serves all draws. Posterior means are
    exact where they have a closed form; elsewhere they are those of `MeanOfDraws`, of as many further draws, which are
    not kept, as it takes for their Monte-Carlo share to fall to `share` (of 64 draws in all at most). Where a source
    has a range, values of draws and means beyond are put to its ends, last of all: residuals are those from before.

    **Arguments:** `draws`, per observation; `share`, 1 for no more draws than those; `learned`, posteriors of views,
    which take the place of the method where they are for these observations; `out`, a Zarr store to stream to,
    which appears when it is whole; `overwrite`, whether to replace the one that is there; `report(done, total)` is
    called now and then.

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
    sampling = sampling or Auto()
    point = sampling.returns == "estimate"
    draws = 1 if point else draws
    total = sum(len(view) for view in problem.views.values()) * draws
    done = 0

    def clipped(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {s: problem.sources[s].clip(x) for s, x in samples.items()}

    with SeparationWriter(None if out is None else Path(out), shapes, draws, overwrite, point, pairs) as writer:
        for number, (name, view) in enumerate(problem.views.items()):
            view_key = jax.random.fold_in(key, number)
            own = _learned(name, view, priors, (learned or {}).get(name), view_key)
            bound = own or sampling.bind(view, priors, key=view_key)
            exact = bound.mean()
            found = MeanOfDraws(None if exact or point or own else stand_in_mean(view, priors))
            draw, wanted = 0, draws
            while draw < wanted:
                drawn = bound.draw(
                    observation_keys(jax.random.fold_in(view_key, draw), len(view)),
                    report=None if report is None else lambda n, _, done=done, total=total: report(done + n, total),
                )
                if draw < draws:
                    writer.write(name, draw, replace(drawn, samples=clipped(drawn.samples)))
                if exact is None:
                    found.add(drawn)
                draw, done = draw + 1, done + len(view)
                if draw == wanted and exact is None and not point:
                    total += (more := found.missing(share, MOST_DRAWS)) * len(view)
                    wanted += more
            means = clipped(exact or {s: found.mean(s) for s in view.mixing})
            shares = {s: 0.0 if exact or point else found.share(s) for s in view.mixing}
            writer.average(name, means, {s: view.seen(s, x) for s, x in means.items()}, shares)
    return writer.finish()


def _learned(
    name: str, view: View, priors: Mapping[str, Prior], posterior: LearnedPosterior | None, key: PRNGKeyArray
) -> Bound | None:
    """The posterior that was learned for a view, where it is for these observations."""
    if posterior is None:
        return None
    try:
        return posterior.bind(view, priors, key=key)
    except ValueError as error:
        warnings.warn(f"view '{name}': its learned posterior is not used: {error}", stacklevel=3)
        return None


@dataclass(frozen=True)
class Separation:
    """Posterior draws, in the user's units.

    **Fields:** `samples`, `{view: {source: (n, draws, ...)}}` (Zarr arrays when read from disk); `chi_square`, `{view:
    (n, draws)}`, the residual of each draw per observed value, 1 on average for an exact posterior, NaN where not all
    sources of the view were estimated; `diverged`, `{view: (n, draws)}`, draws that are not to be used; `evaluations`,
    network evaluations per draw and source, those that all draws share included; `point`, true for point estimates in
    place of draws: one per observation, without a spread; `means` and `appearances`, `{view: {source: (n, ...)}}`,
    posterior means, and those as the view shows them; `shares`, `{view: {source: share}}`, the Monte-Carlo share of the
    squared error of the means, 0 for exact ones. The last three are empty where they were not kept (older stores).
    """

    samples: Mapping[str, Mapping[str, Any]]
    chi_square: Mapping[str, np.ndarray]
    diverged: Mapping[str, np.ndarray]
    evaluations: int
    point: bool = False
    means: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    appearances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        return self._reduce(np.nanstd, view, source, ddof=1)

    def quantile(self, view: str, source: str, q: float) -> np.ndarray:
        """Posterior quantile, shape `(n, ...)`."""
        return self._reduce(np.nanquantile, view, source, q=q)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name: `VIEW/SOURCE/mean`, `/std`, `/draws` and, where it was kept, `/seen`;
        `VIEW/chi_square` and `/diverged`.
        """
        found = {}
        for view, sources in self.samples.items():
            for source in sources:
                found[f"{view}/{source}/mean"] = self.mean(view, source)
                found[f"{view}/{source}/std"] = self.std(view, source)
                found[f"{view}/{source}/draws"] = self.draws(view, source)
                if source in self.appearances.get(view, {}):
                    found[f"{view}/{source}/seen"] = self.seen(view, source)
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
        """Reads a Zarr store written by `separate`, without loading the draws.

        **Raises:** `RunError` when it is damaged, incomplete, newer than this version or not a separation.
        """
        import zarr

        path = Path(path)
        with _in_words(path):
            content = _described(path)
            root = zarr.open_group(str(path), mode="r", zarr_format=3)

            def stored(name: str) -> "_Stored":
                return _Stored(root[name], path)

            def every(kind: str) -> dict[str, dict[str, _Stored]]:
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
            )


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        with reading(path):
            yield
    except FileNotFoundError as error:
        raise RunError(f"there is no separation at {path}, or not all of it") from error
    except StoreError as error:
        raise RunError(str(error)) from error


class _Stored:
    """An array on disk. Its chunks have checksums: a damaged one is a `RunError` when it is read."""

    def __init__(self, array: Any, path: Path):
        self._array, self._path = array, path
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        with _in_words(self._path):
            return self._array[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


class SeparationWriter:
    """Collects draws one round at a time, in memory or straight into a Zarr store; the sources `pairs` become complex.

    Used in a `with` statement, at the end of which the store appears under its name: what has it is whole.
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
        self._files, self._shapes, self._draws = ExitStack(), shapes, draws
        self.samples: dict[str, dict[str, Any]] = {}
        self.chi_square: dict[str, Any] = {}
        self.diverged: dict[str, Any] = {}
        self.means: dict[str, dict[str, Any]] = {}
        self.appearances: dict[str, dict[str, Any]] = {}
        self.shares: dict[str, dict[str, float]] = {}
        if path is not None:
            check_free(path, overwrite)

    def __enter__(self) -> "SeparationWriter":
        if self.path is not None:
            import zarr

            self._root = zarr.open_group(str(self._files.enter_context(whole(self.path))), mode="w")
        self._groups = file_names(self._shapes)
        self._names = {
            view: {s: f"{self._groups[view]}/samples/{name}" for s, name in file_names(sources).items()}
            for view, (_, sources) in self._shapes.items()
        }
        for view, (n, sources) in self._shapes.items():
            self.samples[view] = {
                s: self._array(self._names[view][s], (n, self._draws, *shape[:-1]), "complex64")
                if s in self._pairs
                else self._array(self._names[view][s], (n, self._draws, *shape), "float32")
                for s, shape in sources.items()
            }
            self.chi_square[view] = self._array(f"{self._groups[view]}/chi_square", (n, self._draws), "float32")
            self.diverged[view] = self._array(f"{self._groups[view]}/diverged", (n, self._draws), "bool")
        return self

    def __exit__(self, *error: Any) -> None:
        if self._root is not None and error[0] is None:
            content = {"views": self._groups, "samples": self._names, "evaluations": self.evaluations}
            content |= {"point": self.point, "shares": self.shares}
            for kind, views in (("means", self.means), ("appearances", self.appearances)):
                content[kind] = {v: {s: self._name(v, kind, s) for s in kept} for v, kept in views.items()}
            self._root.attrs.update(_SEPARATION.mark(content))
        self._files.__exit__(*error)

    def write(self, view: str, draw: int, drawn: Any) -> None:
        """One draw of every observation of a view."""
        for s, x in drawn.samples.items():
            self.samples[view][s][:, draw] = as_complex(x) if s in self._pairs else x
        self.chi_square[view][:, draw] = drawn.chi_square
        self.diverged[view][:, draw] = drawn.diverged
        self.evaluations = max(self.evaluations, round(drawn.evaluations(self._draws)))

    def average(
        self, view: str, means: Mapping[str, Any], appearances: Mapping[str, Any], shares: Mapping[str, float]
    ) -> None:
        """The posterior means of a view, those as it shows them, and their Monte-Carlo shares."""
        means = {s: as_complex(x) if s in self._pairs else x for s, x in means.items()}
        for kind, found in (("means", means), ("appearances", appearances)):
            kept = getattr(self, kind)[view] = {}
            for s, x in found.items():
                dtype = "complex64" if np.iscomplexobj(x) else "float32"
                kept[s] = self._array(self._name(view, kind, s), x.shape, dtype, 1)
                kept[s][:] = x
        self.shares[view] = dict(shares)

    def finish(self) -> Separation:
        """The result."""
        if self.path is not None:
            return Separation.open(self.path)
        shown = self.means, self.appearances, self.shares
        return Separation(self.samples, self.chi_square, self.diverged, self.evaluations, self.point, *shown)

    def _name(self, view: str, kind: str, source: str) -> str:
        return self._names[view][source].replace("/samples/", f"/{kind}/", 1)

    def _array(self, name: str, shape: tuple[int, ...], dtype: str, axes: int = 2) -> Any:
        if self._root is None:
            return np.zeros(shape, dtype)
        from zarr.codecs import Crc32cCodec, ZstdCodec

        return self._root.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(max(min(shape[0], _ROWS), 1), *[1] * (axes - 1), *shape[axes:]),
            compressors=[ZstdCodec(), Crc32cCodec()],
            config={"write_empty_chunks": True},  # so that one that is not there is missing
        )


_CODECS = {"bytes", "zstd", "crc32c"}  # what we write; none of them executes anything


def _described(path: Path) -> dict[str, Any]:
    """What a store says of itself, when all its arrays are of our making and all their chunks are there.

    **Raises:** `StoreError` otherwise; `FileNotFoundError` where there is no store.
    """
    root = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    content = root["attributes"]
    first = isinstance(content, dict) and content.get("format") == _FIRST
    if first:
        groups = sorted(group.parent.parent for group in path.glob("*/chi_square/zarr.json"))
        named = {group.name: sorted(group.glob("samples/*/zarr.json")) for group in groups}
        content["views"] = {view: view for view in named}
        content["samples"] = {
            view: {file.parent.name: f"{view}/samples/{file.parent.name}" for file in files}
            for view, files in named.items()
        }
    else:
        content = _SEPARATION.check(content, path)
    kinds = ("samples", "means", "appearances")
    known = [name for kind in kinds for sources in content.get(kind, {}).values() for name in sources.values()]
    if not first:  # version 1 left out chunks of nothing but zeros
        known += [f"{group}/{kind}" for group in content["views"].values() for kind in ("chi_square", "diverged")]
    for name in known:
        array = json.loads((path / name / "zarr.json").read_text(encoding="utf-8"))
        codecs = {codec["name"] for codec in array["codecs"]}
        if array["data_type"] not in ("float32", "complex64", "bool") or not codecs <= _CODECS:
            raise StoreError(f"{path}: '{name}' has codecs or a type of values that dichroic does not write")
        chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
        expected = prod(ceil(size / part) for size, part in zip(array["shape"], chunk, strict=True))
        found = sum(file.is_file() for file in (path / name / "c").rglob("*"))
        if found < expected and not (first and content.get("point")):
            raise StoreError(f"{path} is damaged: {expected - found} of {expected} chunks of '{name}' are missing")
    return content


def check_free(path: Path, overwrite: bool = False) -> None:
    """Whether results may be written to a path: it is free, or holds results that are to be replaced.

    **Raises:** `RunError` otherwise.
    """
    if path.suffix not in ("", ".zarr", ".npz"):
        raise RunError(f"results are written as .zarr or .npz, not as '{path.suffix}': {path}")
    if path.exists():
        if not overwrite:
            raise RunError(f"{path} is there already; choose another name, or say --overwrite (overwrite=True)")
        if path.is_dir() and not _is_separation(path):
            raise RunError(f"{path} is a folder that dichroic has not written; it is not replaced")
    claim(path)


def _is_separation(path: Path) -> bool:
    try:
        return str(json.loads((path / "zarr.json").read_text())["attributes"]["format"]).startswith(
            "dichroic separation"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, whole or not at all."""
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
