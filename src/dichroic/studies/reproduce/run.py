"""The experiments of a scale, cell by cell, and what was found in all of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dichroic.run import Progress, Quiet, RunError
from dichroic.studies.reproduce.ablation import ablation_names, load_ablation
from dichroic.studies.reproduce.autoencoders import AUTOENCODERS, collect_autoencoders, reproduce_autoencoders
from dichroic.studies.reproduce.cell import machine, read_cell, run_cell
from dichroic.studies.reproduce.experiment import Experiment, experiment_names, load_experiment
from dichroic.studies.reproduce.generators import MissingData
from dichroic.studies.reproduce.material import ExperimentData, prepare_material, write_json
from dichroic.studies.reproduce.methods import Contender, method_named
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

    def advance(self, fraction: float, what: str) -> None:
        """Passed on, as a part of the whole."""
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

    **Arguments:** `experiments`, names (default: all of mixtures); `methods`, names (default: those of each
    experiment); `data`, where data sets lie that no installed package brings; `seed`, of data, fits and draws.

    **Returns:** what `collect` returns.

    **Raises:** `RunError` for unknown names, and folders of other settings; `Stopped` when asked to stop.
    """
    place, progress = Path(out) / scale, progress or Quiet()
    if AUTOENCODERS in experiments:  # which has methods of its own
        reproduce_autoencoders(scale, Path(out), methods, _path(data), seed, progress)
        experiments, methods = [name for name in experiments if name != AUTOENCODERS], ()
        if not experiments:
            return collect(out, scale)
    chosen = [load_experiment(name, scale) for name in experiments or experiment_names()]
    # unknown names and settings are complained about before anything is computed
    wanted = {e.name: [_tuned(e, m, place / e.name) for m in methods or e.methods] for e in chosen}
    total, number = sum(map(len, wanted.values())), 0
    for experiment in chosen:
        material = _material(experiment, place / experiment.name, seed, data, progress)
        for method in wanted[experiment.name]:
            if material is not None:
                share = _Share(progress, number, total, f"{experiment.name}, {method.name}")
                folder = place / experiment.name / method.name
                cell = run_cell(method, material, folder, seed, _path(data), share)
                _tell(share, cell)
            number += 1
    return collect(out, scale)


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
        material = _material(variant, folder if row.data else place / base.name, seed, data, progress)
        if material is None:
            break
        share = _Share(progress, number, len(runs), f"{name}, {row.name}")
        _tell(share, run_cell(method, material, folder / method.name, seed, _path(data), share))
    return collect(out, scale)


def collect(out: str | Path, scale: str) -> dict[str, Any]:
    """All that has been found at a scale, whichever call found it; also written to `results.json` there.

    **Returns:** `format`, `scale`, `machine`; `experiments`, one entry each with its title, published rows, design and
    cells, or the reason why it was skipped; `ablations`, the same with a cell per row; `autoencoders`, cells.
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
        about = ablation.model_dump(exclude={"rows"})
        found["ablations"].append({**about, "experiment": ablation.experiment[scale], "rows": rows})
    found["autoencoders"] = collect_autoencoders(Path(out), scale)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "results.json", found)
    return found


def _summary(experiment: Experiment, folder: Path) -> dict[str, Any]:
    skipped, design = folder / "skipped.json", folder / "data" / "design.json"
    made = folder / "data" / "made.json"
    cells = [read_cell(f.parent) for f in sorted(folder.glob("*/cell.json"))]
    order = {name: i for i, name in enumerate(experiment.methods)}
    return {
        "name": experiment.name,
        "family": experiment.family,
        "title": experiment.title,
        "note": experiment.note,
        "targets": [t.model_dump() for t in experiment.targets],
        "measures": experiment.measures,
        "axis": experiment.axis,
        "published": [p.model_dump() for p in experiment.published],
        "skipped": json.loads(skipped.read_text())["reason"] if skipped.is_file() else None,
        "data": json.loads(made.read_text()) if made.is_file() else None,
        "design": json.loads(design.read_text()) if design.is_file() else None,
        "cells": sorted((c for c in cells if c), key=lambda c: order.get(c["method"], len(order))),
    }


def _material(
    experiment: Experiment, folder: Path, seed: int, data: str | Path | None, progress: Progress
) -> ExperimentData | None:
    """The data of an experiment, None where a data set is missing: that is said, and kept for the table."""
    try:
        material = prepare_material(experiment, folder / "data", seed, _path(data))
        (folder / "skipped.json").unlink(missing_ok=True)
        material.design()
        return material
    except MissingData as error:
        reason = f"{experiment.title} {error}"
        write_json(folder / "skipped.json", {"reason": reason})
        progress.say(f"{experiment.name}: skipped: {reason}")
        return None


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
        for target, numbers in cell["scores"].items()
        for kind in ("psnr", "psnr_mean")
        if kind in numbers
    ]
    progress.say("; ".join(["done", *scores]))


def _path(data: str | Path | None) -> Path | None:
    return None if data is None else Path(data).expanduser()


def _file_name(row: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in row)
