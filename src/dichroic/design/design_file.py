"""A report on a design as one file: its pictures as arrays, its numbers as their description."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.design.report import DesignReport
from dichroic.design.spectrum import Direction, Spectrum
from dichroic.store import Format, load_arrays, reading, save_arrays

__all__ = ["load_design", "save_design"]

_DESIGN = Format("dichroic design", 3)
_FIRST = 2  # the format of before there were versions, in an npz file


def save_design(report: DesignReport, path: Path) -> None:
    """Writes one file, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    spectra = {}
    for name in ("means", "covariances"):
        spectrum: Spectrum = getattr(report, name)
        spectra[name] = asdict(replace(spectrum, directions=[], dead={}))
        spectra[name]["directions"] = [
            {"kind": d.kind, "count": d.count, "information": d.information, "sources": list(d.pattern)}
            for d in spectrum.directions
        ]
        for k, direction in enumerate(spectrum.directions):
            arrays |= {f"{name}_{k}_{j}": x for j, x in enumerate(direction.pattern.values())}
        spectra[name]["dead"] = list(spectrum.dead)
        arrays |= {f"{name}_dead_{j}": x for j, x in enumerate(spectrum.dead.values())}
    content = {
        "shapes": {s: list(shape) for s, shape in report.shapes.items()},
        **spectra,
        "observations": {view: list(counts) for view, counts in report.observations.items()},
        "contraction": {view: dict(shares) for view, shares in report.contraction.items()},
        "with_view": dict(report.with_view),
        "mean_error": report.mean_error,
        "seconds": report.seconds,
    }
    save_arrays(path, arrays, content, _DESIGN)


def load_design(path: Path) -> DesignReport | None:
    """Reads it again; None where there is none, or one of before there were versions in a format of its own.

    **Raises:** `StoreError` for a damaged or a newer file.
    """
    first = path.with_suffix(".npz")
    if not path.is_file() and not first.is_file():
        return None
    with reading(path if path.is_file() else first):
        if path.is_file():
            arrays, content = load_arrays(path, _DESIGN)
        else:
            with np.load(first) as file:
                arrays = dict(file)
            content = json.loads(str(arrays["content"]))
            if content["format"] != _FIRST:
                return None
        return _report(arrays, content)


def _report(arrays: dict[str, np.ndarray], content: dict[str, Any]) -> DesignReport:
    means, covariances = (_spectrum(name, content[name], arrays) for name in ("means", "covariances"))
    return DesignReport(
        {s: tuple(shape) for s, shape in content["shapes"].items()},
        means,
        covariances,
        {view: tuple(counts) for view, counts in content["observations"].items()},
        content["contraction"],
        content["with_view"],
        content["mean_error"],
        content["seconds"],
    )


def _spectrum(name: str, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Spectrum:
    directions = [
        Direction(
            d["kind"],
            {s: arrays[f"{name}_{k}_{j}"] for j, s in enumerate(d["sources"])},
            d["count"],
            d["information"],
        )
        for k, d in enumerate(content["directions"])
    ]
    dead = {s: arrays[f"{name}_dead_{j}"] for j, s in enumerate(content["dead"])}
    return Spectrum(**{**content, "directions": directions, "dead": dead})
