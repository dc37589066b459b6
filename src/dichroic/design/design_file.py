"""A report on a design as one file: numbers as JSON, pictures as arrays."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.design.report import DesignReport
from dichroic.design.spectrum import Direction, Spectrum

__all__ = ["load_design", "save_design"]

_FORMAT = 2


def save_design(report: DesignReport, path: Path) -> None:
    """Writes an npz file, under a temporary name first."""
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
        "format": _FORMAT,
        "shapes": {s: list(shape) for s, shape in report.shapes.items()},
        **spectra,
        "observations": {view: list(counts) for view, counts in report.observations.items()},
        "contraction": {view: dict(shares) for view, shares in report.contraction.items()},
        "with_view": dict(report.with_view),
        "mean_error": report.mean_error,
        "seconds": report.seconds,
    }
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npz")
    np.savez_compressed(temporary, content=np.asarray(json.dumps(content)), **arrays)  # pyright: ignore
    os.replace(temporary, path)


def load_design(path: Path) -> DesignReport | None:
    """Reads it again; None where there is none, or one in a format of another version."""
    if not path.is_file():
        return None
    with np.load(path) as file:
        content = json.loads(str(file["content"]))
        if content["format"] != _FORMAT:
            return None
        means, covariances = (_spectrum(name, content[name], file) for name in ("means", "covariances"))
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


def _spectrum(name: str, content: dict[str, Any], file: Any) -> Spectrum:
    directions = [
        Direction(
            d["kind"],
            {s: file[f"{name}_{k}_{j}"] for j, s in enumerate(d["sources"])},
            d["count"],
            d["information"],
        )
        for k, d in enumerate(content["directions"])
    ]
    dead = {s: file[f"{name}_dead_{j}"] for j, s in enumerate(content["dead"])}
    return Spectrum(**{**content, "directions": directions, "dead": dead})
