"""Problem files: a TOML file that names the sources, the views and the arrays they are made of."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, among, collect, first_line, located, names
from dichroic.formats import Opened
from dichroic.problem.arrays import ArrayReader, expand, find_file
from dichroic.problem.containers import open_container
from dichroic.problem.functions import FunctionReader, allow
from dichroic.problem.labels_table import read_labels
from dichroic.problem.noise import through_response
from dichroic.problem.noise_table import read_noise
from dichroic.problem.observed_table import read_observed
from dichroic.problem.operator_table import OperatorReader
from dichroic.problem.problem import Problem
from dichroic.problem.schema import ProblemTable, ViewTable, parse
from dichroic.problem.source import Source
from dichroic.problem.validate import check_view, unknown_source
from dichroic.problem.values import unmask
from dichroic.problem.view import View, beside
from dichroic.problem.windowed import Cutter, cutter

__all__ = ["ProblemFile", "load_problem", "read_table"]


@dataclass(frozen=True)
class ProblemFile:
    """What a problem file says.

    `problem`; `held_out`, data kept for scores: a problem with the same sources and views, the fraction of each view to
    hold out, or None; `fit`, the table `[fit]` as it stands in the file; `path`, of the file; `frozen`, the sources'
    known priors, `{source: path}` of those in files and `{source: table}` of those described, with arrays read;
    `start`, the same of priors that learning begins at.
    """

    problem: Problem
    held_out: Problem | float | None
    fit: dict[str, Any]
    path: Path
    frozen: dict[str, Path | dict[str, Any]] = field(default_factory=dict)
    start: dict[str, Path | dict[str, Any]] = field(default_factory=dict)


def load_problem(path: str | Path, *, allow_code: bool | None = None) -> ProblemFile:
    """Reads a problem file, or the file `problem.toml` in a folder. Paths in it are relative to its own folder.

    **Arguments:** `allow_code`, whether Python functions that the file names are run (default: what
    `dichroic.problem.functions.allow` says, which is no at first).

    **Raises:** `ProblemError`, with every fault found: in the file, in the arrays it names, and in the problem
    they make.
    """
    path = _locate(Path(path))
    table = read_table(path)
    try:
        with allow(allow_code):
            problem = _problem(table, path)
            held_out = _held_out(table.held_out, problem, path)
    except RecursionError:
        raise ProblemError([f"'{path.name}' holds tables or lists too deep in each other"]) from None
    return ProblemFile(problem, held_out, table.fit, path, *_priors(table, path))


def _locate(path: Path) -> Path:
    path = expand(path)
    if path.is_dir():
        path = path / "problem.toml"
    if path.is_file():
        return path.absolute()
    if path.exists() or path.is_symlink():
        raise ProblemError([f"'{path.name}' is no file, but a pipe, a device or a link that leads nowhere"])
    folder = path.parent.absolute()
    if not folder.is_dir():
        raise ProblemError([f"there is no folder {folder}, so no problem file '{path.name}' in it"])
    there = sorted(other.name for other in folder.glob("*.toml"))
    raise ProblemError([f"no problem file '{path.name}' in {folder}; found there: {among(path.name, there)}"])


def read_table(path: Path) -> ProblemTable:
    """What a problem file says, its keys checked.

    **Raises:** `ProblemError`.
    """
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:2]:
        raise ProblemError([f"'{path.name}' is written in UTF-16 (as by Windows' Notepad); save it as UTF-8"])
    try:
        said = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ProblemError([f"'{path.name}' is not UTF-8, at byte {error.start}; save it as UTF-8"]) from None
    except (ValueError, RecursionError) as error:  # of Python itself, too, for numbers of thousands of digits
        raise ProblemError([f"'{path.name}' is not valid TOML: {first_line(error)}"]) from None
    return parse(ProblemTable, said)


def _priors(table: ProblemTable, path: Path) -> tuple[dict[str, Path | dict[str, Any]], ...]:
    """The known priors, and those that learning begins at."""
    faults: list[str] = []
    found: dict[str, dict[str, Path | dict[str, Any]]] = {"prior": {}, "start": {}}
    arrays = ArrayReader(path.parent)
    for name, source in table.sources.items():
        if source.prior is not None and source.start is not None:
            faults.append(
                f"source '{name}': a known prior is not learned (prior), one that learning begins at is (start)"
            )
        for key, priors in found.items():
            if (said := getattr(source, key)) is not None:
                with collect(faults, f"source '{name}': {key}"):
                    if isinstance(said, dict):
                        priors[name] = arrays.read_within(said)
                    elif isinstance(said, str):
                        priors[name] = find_file(path.parent, said)
                    else:
                        raise ProblemError([f"expected a file, or a table that describes it, got {said!r}"])
    if faults:
        raise ProblemError(faults)
    return tuple(found.values())


def _problem(table: ProblemTable, path: Path) -> Problem:
    faults: list[str] = []
    sources: dict[str, Source] = {}
    for name, source in table.sources.items():
        with collect(faults, f"source '{name}'"):
            said = {key: value for key, value in source.model_dump().items() if key not in ("shape", "prior", "start")}
            sources[name] = Source(tuple(source.shape), **said)
    reader = _ViewReader(path.parent, sources, list(table.sources))
    views = {}
    for name, view in table.views.items():
        with collect(faults, f"view '{name}'"):
            views[name] = reader.read(view)
    if faults:
        # the views that could be read are checked all the same: one run should show everything
        raise ProblemError([*faults, *(f for name, view in views.items() for f in check_view(name, view, sources))])
    return Problem(sources, views, table.title)


class _ViewReader:
    """Makes views from their tables. `names` are those of all sources, also of such as have faults of their own."""

    def __init__(self, folder: Path, sources: dict[str, Source], names: list[str]):
        self.sources = sources
        self.names = names
        self.arrays = ArrayReader(folder)
        self.functions = FunctionReader(folder)
        self.operators = OperatorReader(self.arrays, self.functions)

    def read(self, table: ViewTable) -> View:
        faults: list[str] = []
        y, opened, observed, view = None, Opened(1.0), None, None
        arrays: ArrayReader | Cutter = self.arrays
        with collect(faults, "y"):
            arrays = cutter(table, self.arrays)
            opened = open_container(arrays.open(table.y))
            y = unmask(opened)
        if table.observed is not None:
            with collect(faults, "observed"):
                observed = beside(read_observed(table.observed, arrays, table.y), opened, 0.0)
        truth = self._truth(table, arrays, opened, faults)
        mixing = self._mixing(table, faults)
        if y is not None:
            with collect(faults):
                view = View(y, mixing, 1.0, observed, truth, labels=read_labels(table, arrays, opened))
        with collect(faults, "noise"):
            noise = beside(self._noise(table, view, arrays, opened), opened, np.inf)
            if table.response is not None:
                noise = through_response(noise, self.functions.read(table.response))
            if view is not None and not faults:
                return replace(view, noise=noise)
        raise ProblemError(faults)

    def _truth(self, table: ViewTable, arrays: ArrayReader | Cutter, y: Opened, faults: list[str]) -> dict[str, Any]:
        truth = {}
        for source, spec in table.truth.items():
            with collect(faults, f"truth of source '{source}'"):
                truth[source] = beside(arrays.open(spec, table.y), y, np.nan)
        return truth

    def _mixing(self, table: ViewTable, faults: list[str]) -> dict[Any, Any]:
        mixing: dict[Any, Any] = {}
        for source, spec in table.mixing.items():
            if isinstance(spec, dict) and "sources" in spec and source not in self.names:
                with collect(faults, f"mixing.{source}"):
                    mixing |= self._joint(spec)
            elif source not in self.names:
                faults.append(unknown_source(source, self.names))
            elif source in self.sources:
                with collect(faults, f"source '{source}'"):
                    mixing[source] = self.operators.read(spec, self.sources[source])
        return mixing

    def _joint(self, spec: dict[str, Any]) -> dict[tuple[str, ...], Any]:
        """`{ function = "FILE.py:NAME", sources = ["front", "back"] }`, and `parameters`."""
        of = spec["sources"]
        if unknown := set(spec) - {"function", "sources", "parameters"}:
            known = "'function', 'sources', 'parameters'"
            raise ProblemError([f"unknown key '{sorted(unknown)[0]}' beside the sources; known: {known}"])
        if not isinstance(of, list) or not all(isinstance(s, str) for s in of):
            raise ProblemError([f"sources: expected a list of names, got {of!r}"])
        if missing := [s for s in of if s not in self.names]:
            raise ProblemError([unknown_source(missing[0], self.names)])
        function = self.functions.read(spec.get("function"))
        if "parameters" not in spec:
            return {tuple(of): function}
        return {tuple(of): (function, self.operators.parameters(spec["parameters"]))}

    def _noise(self, table: ViewTable, view: View | None, arrays: ArrayReader | Cutter, y: Opened) -> Any:
        if view is None or view.y.ndim < 2:
            return read_noise(table.noise, arrays, None, None, table.y, y)
        # a mask of another shape is reported by the check of the view
        fits = view.observed is not None and view.observed.shape == view.y.shape
        observed = view.observed if fits else None
        return read_noise(table.noise, arrays, observed, int(np.prod(view.event_shape)), table.y, y)


def _held_out(value: Any, problem: Problem, path: Path) -> Problem | float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise ProblemError([f"held_out: expected a fraction between 0 and 1, or a problem file, got {value}"])
        single = [name for name, view in problem.views.items() if len(view) < 2]
        if single:
            raise ProblemError(
                [f"held_out: view '{name}' has one observation, none can be held out" for name in single]
            )
        return float(value)
    if not isinstance(value, str):
        raise ProblemError([f"held_out: expected a fraction between 0 and 1, or a problem file, got {value!r}"])
    with located(f"held_out '{value}'"):
        other = _locate(path.parent / expand(value))
        table = read_table(other)
        if table.held_out is not None or table.fit:
            key = "held_out" if table.held_out is not None else "[fit]"
            raise ProblemError([f"data that is held out has no {key} of its own; remove it there"])
        held_out = _problem(table, other)
        faults = _differences(problem, held_out)
        if faults:
            raise ProblemError(faults)
    return held_out


def _differences(problem: Problem, held_out: Problem) -> list[str]:
    """Where held-out data does not belong to the same sources and views as the problem."""
    shapes = tuple({n: s.real_shape for n, s in p.sources.items()} for p in (problem, held_out))
    views = [
        {name: (view.event_shape, set(view.mixing), np.iscomplexobj(view.y)) for name, view in p.views.items()}
        for p in (problem, held_out)
    ]
    faults = []
    for kind, (expected, got) in {"source": shapes, "view": views}.items():
        if set(expected) != set(got):
            faults.append(f"expected the {kind}s of the problem, {names(expected)}, got {names(got)}")
            continue
        for name in expected:
            if expected[name] != got[name]:
                faults.append(
                    f"{kind} '{name}': expected {_words(expected[name])} as in the problem, got {_words(got[name])}"
                )
    return faults


def _words(value: Any) -> str:
    if not value or isinstance(value[0], int):
        return f"shape {value}"
    shape, mixing, is_complex = value
    return f"{'complex' if is_complex else 'real'} observations of shape {shape} of {names(sorted(mixing))}"
