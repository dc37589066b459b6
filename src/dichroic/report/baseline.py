"""The report of a baseline: what it made of the observations, in the pictures and tables of the report of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.problem import Problem, describe_source
from dichroic.report.chi_figures import chi_histogram
from dichroic.report.describe import number
from dichroic.report.material import Material, Separated
from dichroic.report.residuals import chi_square
from dichroic.report.write import Maker, render
from dichroic.run import Separation
from dichroic.run.summary import view_scores
from dichroic.settings import FitConfig
from dichroic.store import write

__all__ = ["write_baseline_report"]


def write_baseline_report(
    method: str,
    settings: Mapping[str, Any],
    observed: Problem,
    separation: Separation,
    path: str | Path,
    *,
    held_out: bool = True,
) -> Path:
    """Writes the report of any separation that is not of a run: one HTML file that needs nothing else.

    **Arguments:** `method`, its name in sentences; `settings`, by name; `observed`, what was separated; `held_out`,
    whether the fit has not seen it.

    **Returns:** the path of the file.
    """
    material = _material(observed, separation, held_out)
    maker = Maker(material)
    scores = view_scores(separation, observed)
    sources = list(dict.fromkeys(s for row in scores.values() for s in row.get("psnr", {})))
    point = "point estimates, which have no spread" if separation.point else "posterior draws"
    # a method that does not estimate all sources of a view leaves no residual there
    whole = {v: s for v, s in material.separated.items() if np.isfinite(separation.chi_square[v]).any()}
    chi = {v: maker.part(f"residuals of '{v}'", lambda s=s: chi_square(s)) for v, s in whole.items()}
    content = {
        "title": observed.title or "Untitled",
        "method": method,
        "sentence": f"These are {point}. No network takes part: it is what a learned separation has to beat.",
        "separations": maker.separations(),
        "histograms": maker.figures(
            (f"chi-square of '{v}'", lambda c=c: chi_histogram(c)) for v, c in chi.items() if c is not None
        ),
        "sources": sources,
        "scores": list(_rows(scores, sources)),
        "judged_on": material.judged_on,
        "settings": [(key, str(value)) for key, value in _flat(settings)],
    }
    write(path, render("baseline.html.j2", {**content, "notes": maker.notes}))
    return Path(path)


def _material(observed: Problem, separation: Separation, held_out: bool) -> Material:
    sources = {s: describe_source(source) for s, source in observed.sources.items()}
    judged_on = "the held-out observations" if held_out else "the observations that the fit learned from"
    found = {
        name: Separated(
            name,
            samples,
            separation.diverged[name],
            separation.chi_square[name],
            observed.views[name],
            means=separation.means.get(name, {}),
            appearances=separation.appearances.get(name, {}),
        )
        for name, samples in separation.samples.items()
        if samples
    }
    return Material(
        Path(), FitConfig(), {"sources": sources}, {}, True, held_out=observed, separated=found, judged_on=judged_on
    )


def _rows(scores: Mapping[str, Any], sources: list[str]) -> Iterator[dict[str, Any]]:
    for view, row in scores.items():
        psnr = row.get("psnr", {})
        numbers = [number(psnr[s][kind], 4) if s in psnr else "–" for s in sources for kind in ("mean", "draw")]
        yield {
            "view": view,
            "n": number(row["observations"]),
            "chi": number(row["chi_square"]),
            "diverged": f"{row['diverged']:.2%}",
            "psnr": numbers,
        }


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
