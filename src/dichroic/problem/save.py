"""Writing a problem as a folder that `load_problem` reads."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from dichroic.faults import ProblemError, collect
from dichroic.operators import Unknown
from dichroic.problem.labels_table import describe_labels
from dichroic.problem.noise_table import describe_noise
from dichroic.problem.operator_table import describe_operator
from dichroic.problem.problem import Problem
from dichroic.problem.source import Source
from dichroic.problem.unknowns import NOISE, put
from dichroic.problem.view import View, unbind_operator
from dichroic.store import whole, write

__all__ = ["save_problem"]

_ARRAYS = "arrays.npz"


def save_problem(problem: Problem, folder: str | Path, priors: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Writes `problem.toml` and `arrays.npz` into a folder, which is made if need be.

    Loading them gives a problem with the same :meth:`Problem.fingerprint`, and the same title, units and truth.

    **Arguments:** `priors`, tables that describe those of sources, which are said in the file.

    **Returns** the path of `problem.toml`.

    **Raises:** `ProblemError` when the problem has functions, or operators and noise that a file cannot name.
    """
    folder = Path(folder)
    store = _Store()
    faults: list[str] = []
    table: dict[str, Any] = {"title": problem.title} if problem.title else {}
    table["sources"] = {
        name: {
            "shape": list(source.shape),
            **({"unit": source.unit} if source.unit else {}),
            **({"dtype": "complex"} if source.is_complex else {}),
            **source.known(),
            **({"prior": dict(priors[name])} if priors and name in priors else {}),
        }
        for name, source in problem.sources.items()
    }
    table["views"] = {}
    for i, (name, view) in enumerate(problem.views.items()):
        store.prefix = f"view{i}"
        with collect(faults, f"view '{name}'"):
            table["views"][name] = _describe(view, problem.sources, store)
    if faults:
        raise ProblemError(faults)
    with whole(folder / _ARRAYS) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **store.arrays)
    write(folder / "problem.toml", tomli_w.dumps(table))  # goes last, for it names the other
    return folder / "problem.toml"


class _Store:
    """Collects arrays, and hands out the value that stands for each in the file."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}
        self.prefix = ""

    def __call__(self, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool | np.generic) and math.isfinite(value):
            return value
        return self.keep(f"parameter{len(self.arrays)}", value)

    def keep(self, name: str, value: Any) -> str:
        key = f"{self.prefix}_{name}"
        self.arrays[key] = np.asarray(value)
        return f"{_ARRAYS}:{key}"


def _describe(view: View, sources: Mapping[str, Source], store: _Store) -> dict[str, Any]:
    faults: list[str] = []
    table: dict[str, Any] = {"y": store.keep("y", view.y), **describe_labels(view.labels, store.keep)}
    if view.labels is not None and view.labels.unit:
        table["y"] = {"array": table["y"], "unit": view.labels.unit}
    if view.observed is not None:
        table["observed"] = store.keep("observed", view.observed)
    with collect(faults):
        table["noise"] = describe_noise(view.noise, store, NOISE in view.unknowns)
    mixing: dict[str, Any] = {}
    unknown = {name: Unknown(x.value, x.std) for name, x in view.unknowns.items() if x.source is not None}
    for source, operator in put(view.mixing, view.unknowns, unknown).items():
        with collect(faults, f"source '{source}'"):
            mixing[source] = describe_operator(unbind_operator(operator, sources[source]), store)
    if faults:
        raise ProblemError(faults)
    if view.truth:
        table["truth"] = {source: store.keep(f"truth{i}", x) for i, (source, x) in enumerate(view.truth.items())}
    table["mixing"] = mixing
    return table
