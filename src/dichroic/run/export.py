"""Results in the form of a field's files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dichroic.formats import WRITERS, Writer
from dichroic.problem import Problem, ProblemError
from dichroic.run.folder import RunError
from dichroic.run.separation import Separation
from dichroic.run.separation_files import check_free, write_npz
from dichroic.run.stitching import in_pieces, stitched
from dichroic.store import claim

__all__ = ["check_form", "export", "streams"]


def streams(path: Path) -> bool:
    """Whether results go straight into a store of that name, draw by draw."""
    return path.suffix in ("", ".zarr")


def check_form(path: Path, problem: Problem, overwrite: bool = False) -> None:
    """Whether results of a problem can be written to a path, before anything is computed.

    **Raises:** `RunError` where something is there, or the form is not one for these observations.
    """
    check_free(path, overwrite)
    writer = _writer(path)
    if writer is not None:
        try:
            writer.check({name: view.event_shape for name, view in problem.views.items()})
        except ProblemError as error:
            raise RunError(f"{path}: {error}") from None


def export(
    separation: Separation, path: str | Path, problem: Problem | None = None, *, overwrite: bool = False
) -> tuple[list[Path], str]:
    """Writes a separation in the form that the suffix names.

    **Arguments:** `problem`, the observations: their headers and tables go along.

    **Returns** the files, and what of the results they do not hold, in words; empty where they hold all.

    **Raises:** `RunError` where something is there, or the results have no such form.
    """
    path = Path(path)
    check_free(path, overwrite)
    if streams(path):
        raise RunError(f"{path}: separate into a .zarr store, or copy the one that is there")
    if path.suffix == ".npz":
        write_npz(path, _joined(named_by(separation, problem)).arrays())
        return [path], ""
    writer = _writer(path)
    if writer is None:
        raise RunError(f"{path}: no form of results has this suffix")
    named = named_by(separation, problem)
    claim(path)
    try:
        return writer.write(path, _joined(named).results(), _words(named.said))
    except ProblemError as error:
        raise RunError(f"{path}: {error}") from None


def named_by(separation: Separation, problem: Problem | None) -> Separation:
    """The same with all that is known of the observations."""
    if problem is None:
        return separation
    known = {
        name: view.labels
        for name, view in problem.views.items()
        if view.labels is not None and name in separation.samples and len(view) == len(separation.chi_square[name])
    }
    units = {s: source.unit for s, source in problem.sources.items() if source.unit}
    return replace(separation, labels={**separation.labels, **known}, units={**separation.units, **units})


def _joined(separation: Separation) -> Separation:
    """Records in place of windows, or the stretches of series that are there."""
    separation = in_pieces(separation)
    windows = [labels.windows for labels in separation.labels.values() if labels.windows is not None]
    return stitched(separation) if all(found.whole for found in windows) else separation


def _writer(path: Path) -> Writer | None:
    return next((w for w in WRITERS.values() if path.name.endswith(tuple(f".{s}" for s in w.suffixes))), None)


def _words(said: Mapping[str, str]) -> dict[str, str]:
    from dichroic import __version__

    return {"version": __version__, **said}
