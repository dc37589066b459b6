"""The experiments of a scale, cell by cell, and what was found in all of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dichroic.run import Progress, Quiet, RunError
from dichroic.studies.reproduce.ablation import ablation_names, load_ablation
from dichroic.studies.reproduce.cell import machine, read_cell, run_cell
from dichroic.studies.reproduce.experiment import SCALES, Experiment, check_name, experiment_names, load_experiment
from dichroic.studies.reproduce.generators import MissingData
from dichroic.studies.reproduce.material import ExperimentData, prepare_material, write_json
from dichroic.studies.reproduce.methods import Contender, method_named
from dichroic.studies.reproduce.studies import STUDIES
from dichroic.studies.reproduce.sweep import tuned_settings

__all__ = ["collect", "reproduce", "reproduce_ablation"]

FORMAT = "dichroic reproduce 1"


class _Share:
    """The part of a progress that one cell is."""

    def __init__(self, inner: Progress, number: int, total: int, what: str):
        self._inner, self._number, self._total, self._what = inner, number, total, what

    def say(self, line: str) -> None:
        """Passed on, with the cell's name."""
        self._inner.say(f"{self._what}: {line}")

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Passed on, as a part of the whole, of which the time left is not known by that."""
        self._inner.advance((self._number + fraction) / self._total, f"{self._what}: {what}")

    def close(self) -> None:
        """The whole goes on."""


def reproduce(
    experiments: Sequence[str] = (),
    scale: str = "laptop",
    out: str | Path = "runs/reproduce",
    *,
    methods: Sequence[str] = (),
    data: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs experiments with their methods. Cells that are done are skipped, those that were killed are continued.

    Everything of a scale lands in the folder `out/scale`: for every experiment its data, and a folder for every method.

    **Arguments:** `experiments`, names, those of `STUDIES` among them (default: all of mixtures); `methods`, names
    (default: those of each experiment); `data`, where data sets lie that no installed package brings; `seed`, of
    data, fits and draws.

    **Returns:** what `collect` returns.

    **Raises:** `RunError` for unknown names, and folders of other settings; `Stopped` when asked to stop.
    """
    place, progress = Path(out) / scale, progress or Quiet()
    # unknown names and settings are complained about before anything is computed
    asked = [
        _asked(name, scale, place / name, methods, seed, _path(data)) for name in experiments or experiment_names()
    ]
    total, number = sum(len(a.cells) for a in asked), 0
    for about in asked:
        material = about.material(progress)
        for label, run in about.cells.items():
            if material is not None:
                share = _Share(progress, number, total, f"{about.name}, {label}")
                _tell(share, run(material, share))
            number += 1
    return collect(out, scale)


class _Asked(NamedTuple):
    """An experiment or a study: what it is prepared by, and how every cell that is asked for is run."""

    name: str
    title: str
    folder: Path
    prepare: Callable[[], Any]
    cells: Mapping[str, Callable[[Any, Progress], dict[str, Any]]] = {}

    def material(self, progress: Progress) -> Any:
        """The data, None where a data set is missing: that is said, and kept for the table."""
        note = self.folder / "skipped.json"
        try:
            material = self.prepare()
            note.unlink(missing_ok=True)
            return material
        except MissingData as error:
            reason = f"{self.title} {error}"
            write_json(note, {"reason": reason})
            progress.say(f"{self.name}: skipped: {reason}")
            return None


def _asked(name: str, scale: str, folder: Path, methods: Sequence[str], seed: int, data: Path | None) -> _Asked:
    check_name("scale", scale, SCALES)
    check_name("experiment", name, [*experiment_names(), *STUDIES])
    if name in STUDIES:
        study = STUDIES[name]
        for method in methods:
            check_name(f"method of {name}", method, study.methods)
        cells = {
            label: partial(study.run_cell, label, cell, folder / _file_name(label))
            for label, cell in study.cells(scale, methods, seed).items()
        }
        return _Asked(name, study.title, folder, partial(study.prepare, scale, data, seed), cells)
    experiment = load_experiment(name, scale)
    chosen = [_tuned(experiment, method, folder) for method in methods or experiment.methods]
    cells = {m.name: partial(run_cell, m, folder=folder / m.name, seed=seed, data=data) for m in chosen}
    return _mixed(experiment, folder, seed, data)._replace(cells=cells)


def _mixed(experiment: Experiment, folder: Path, seed: int, data: Path | None) -> _Asked:
    def prepare() -> ExperimentData:
        material = prepare_material(experiment, folder / "data", seed, data)
        material.design()
        return material

    return _Asked(experiment.name, experiment.title, folder, prepare)


def reproduce_ablation(
    name: str,
    scale: str = "laptop",
    out: str | Path = "runs/reproduce",
    *,
    data: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs the variants of an ablation, as `reproduce` does its experiments, in `out/scale/ablations/NAME`.

    **Raises:** `RunError` for an unknown name, or a scale for which it has no experiment.
    """
    ablation, place, progress = load_ablation(name), Path(out) / scale, progress or Quiet()
    if scale not in ablation.experiment:
        raise RunError(
            f"ablation '{name}' has no experiment at scale '{scale}'; it has: {', '.join(ablation.experiment)}"
        )
    base = load_experiment(ablation.experiment[scale], scale)
    variants = [base.changed(row.data, ablation.method, row.settings) for row in ablation.rows]
    runs = [method_named(ablation.method, v.settings_of(ablation.method)) for v in variants]
    for number, (row, variant, method) in enumerate(zip(ablation.rows, variants, runs, strict=True)):
        folder = place / "ablations" / name / _file_name(row.name)
        material = _mixed(variant, folder if row.data else place / base.name, seed, _path(data)).material(progress)
        if material is None:
            break
        share = _Share(progress, number, len(runs), f"{name}, {row.name}")
        _tell(share, run_cell(method, material, share, folder / method.name, seed, _path(data)))
    return collect(out, scale)


def collect(out: str | Path, scale: str) -> dict[str, Any]:
    """All that has been found at a scale, whichever call found it; also written to `results.json` there.

    **Returns:** `format`, `scale`, `machine`; `experiments`, one entry each with its title, published rows, design and
    cells, or the reason why it was skipped; `ablations`, the same with a cell per row; `studies`, the
    same of those in which nothing is mixed.
    """
    place = Path(out) / scale
    found: dict[str, Any] = {"format": FORMAT, "scale": scale, "machine": machine()}
    found["experiments"] = [
        _summary(load_experiment(name, scale), place / name) for name in experiment_names() if (place / name).is_dir()
    ]
    found["ablations"] = []
    for ablation in map(load_ablation, ablation_names()):
        folder, rows = place / "ablations" / ablation.name, []
        # a folder may hold what earlier versions had at this scale
        if scale not in ablation.experiment or not folder.is_dir():
            continue
        for row in ablation.rows:
            cell = read_cell(folder / _file_name(row.name) / ablation.method)
            rows.append({**row.model_dump(), "cell": cell})
        about, base = ablation.model_dump(exclude={"rows"}), load_experiment(ablation.experiment[scale], scale)
        along = base.model_dump(include={"axis", "targets", "measures"})
        found["ablations"].append({**about, **along, "experiment": base.name, "rows": rows})
    found["studies"] = [
        {"name": study.name, "title": study.title, **_kept(place / study.name)}
        for study in STUDIES.values()
        if (place / study.name).is_dir()
    ]
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "results.json", found)
    return found


def _summary(experiment: Experiment, folder: Path) -> dict[str, Any]:
    design, made = folder / "data" / "design.json", folder / "data" / "made.json"
    order = {name: i for i, name in enumerate(experiment.methods)}
    kept = _kept(folder)
    return {
        "name": experiment.name,
        "family": experiment.family,
        "title": experiment.title,
        "note": experiment.note,
        "targets": [t.model_dump() for t in experiment.targets],
        "measures": experiment.measures,
        "axis": experiment.axis,
        "published": [p.model_dump() for p in experiment.published],
        "skipped": kept["skipped"],
        "data": json.loads(made.read_text()) if made.is_file() else None,
        "design": json.loads(design.read_text()) if design.is_file() else None,
        "cells": sorted(kept["cells"], key=lambda c: order.get(c["method"], len(order))),
    }


def _kept(folder: Path) -> dict[str, Any]:
    """Why an experiment or a study was skipped, and its cells."""
    skipped = folder / "skipped.json"
    return {
        "skipped": json.loads(skipped.read_text())["reason"] if skipped.is_file() else None,
        "cells": [cell for f in sorted(folder.glob("*/cell.json")) if (cell := read_cell(f.parent))],
    }


def _tuned(experiment: Experiment, name: str, folder: Path) -> Contender:
    """A method with the experiment's settings, and over them what a sweep found."""
    found = tuned_settings(folder, name)
    method = method_named(name, experiment.changed({}, name, found).settings_of(name))
    method.title += ", tuned" if found else ""
    return method


def _tell(progress: Progress, cell: dict[str, Any]) -> None:
    if cell["status"] != "done":
        progress.say(f"{cell['status']}: {cell['reason']}")
        return
    scores = [
        f"{target}: PSNR {numbers[kind]['estimate']:.2f} dB ({'mean' if kind == 'psnr_mean' else 'draws'})"
        for target, numbers in cell.get("scores", {}).items()
        for kind in ("psnr", "psnr_mean")
        if kind in numbers
    ]
    progress.say("; ".join(["done", *scores]))


def _path(data: str | Path | None) -> Path | None:
    return None if data is None else Path(data).expanduser()


def _file_name(row: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in row)
