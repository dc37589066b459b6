"""The report, assembled: what there is is gathered, drawn and put into one page."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.diagnose import load_panel
from dichroic.formats import Labels
from dichroic.report.calibration import diagnosis_section
from dichroic.report.chi_figures import chi_histogram
from dichroic.report.convergence import convergence_figures
from dichroic.report.describe import (
    in_words,
    missing_share,
    noise_in_words,
    number,
    settings,
    shape_in_words,
    signal_to_noise,
    with_error,
)
from dichroic.report.design import design_section
from dichroic.report.material import Material, first_words, gather
from dichroic.report.pictures import is_image
from dichroic.report.prior_figures import prior_figure
from dichroic.report.residual_figures import residual_figures
from dichroic.report.residuals import ChiSquare, chi_square
from dichroic.report.stretch import CONTROL
from dichroic.report.strips import example_strip, reduced, separation_strip
from dichroic.report.theme import Figure
from dichroic.report.vectors import example_lines, vector_figures
from dichroic.report.verdict import judge_run
from dichroic.run import Run, choices, judged
from dichroic.run.next_step import command
from dichroic.settings import FitConfig
from dichroic.store import claim, write

__all__ = ["Maker", "render", "report"]


def report(run: Run, out: str | Path | None = None) -> Path:
    """Writes the report of a run, finished or not: one HTML file that needs nothing else.

    **Arguments:** `out`, the file (default: `report.html` in the run folder).

    **Returns:** the path of the file.

    **Raises:** `OSError`, before anything is computed, where nothing can be written.
    """
    path = run.path / "report.html" if out is None else Path(out)
    claim(path)
    write(path, render("report.html.j2", Maker(gather(run)).content()))
    return path


class Maker:
    """Makes the parts of the page. One that fails becomes a note on the page; the others are made all the same."""

    def __init__(self, material: Material):
        self.material = material
        self.notes = list(material.notes)

    def content(self) -> dict[str, Any]:
        """Everything the template asks for."""
        m = self.material
        found = {v: self.part(f"residuals of '{v}'", partial(chi_square, s)) for v, s in m.separated.items()}
        chi = {v: c for v, c in found.items() if c is not None}
        results = load_panel(m.path / "diagnose")
        content = {
            "title": m.description.get("title") or m.path.resolve().name,
            "sources": self.part("the table of sources", self._sources) or [],
            "views": self.part("the table of views", self._views) or [],
            "settings": self.part("the settings", lambda: settings(m.config, m.real_shapes)) or [],
            "examples": self._examples(),
            "separations": self.separations(),
            "priors": self.figures((f"the prior of '{s}'", lambda s=s: prior_figure(m, s)) for s in m.shapes),
            "convergence": self.part("convergence", lambda: convergence_figures(m)) or [],
            "chi": list(self._chi_rows(chi)),
            "histograms": self.figures((f"chi-square of '{v}'", lambda c=c: chi_histogram(c)) for v, c in chi.items()),
            "worst": {v: [(i, number(x), number(z, 2)) for i, x, z in c.worst()] for v, c in chi.items()},
            "judged_on": m.judged_on,
            "facts": self.part("provenance", self._facts) or [],
            "commands": self.part("the commands", self._commands) or [],
            "verdict": judge_run(m, chi, results).doubted(m.beside.reasons),
            "choices": self.part("the priors that are used", lambda: list(_choices(m))) or [],
            "law": [
                {"view": j.view, "area": _area(j.area, j.error), "first": _area(j.first, j.first_error)}
                | {"reading": j.reading}
                for j in judged(m.records)
            ],
            "comparisons": [
                {
                    "what": f"{c.source} in {c.view}{', as seen' if c.seen else ''}",
                    "title": c.title,
                    "theirs": f"{c.theirs:.2f}",
                    "ours": f"{c.ours:.2f}",
                    "beaten": "the simple answer" if c.beaten else "",
                }
                for c in m.beside.shown
            ],
            "up": self._is_up(),
            "design": self.part("the design", lambda: design_section(m, self.part)),
            "diagnosis": self.part("the diagnosis", lambda: diagnosis_section(results, self.part)),
        }
        shown = [*content["examples"], *(f for block in content["separations"] for f in block["figures"])]
        stretch = CONTROL if any("<filter" in figure.body for figure in shown) else ""
        return {**content, "notes": self.notes, "stretch": stretch}

    def part(self, what: str, make: Callable[[], Any]) -> Any:
        """One part of the page, None with a note when it cannot be made."""
        try:
            return make()
        except Exception as error:
            self.notes.append(f"Not shown: {what} ({first_words(error)}).")
            return None

    def figures(self, makers: Any) -> list[Figure]:
        """Figures by `(what, make)`; those that cannot be made become notes."""
        made = [self.part(what, make) for what, make in makers]
        return [figure for figure in made if figure is not None]

    def _is_up(self) -> bool:
        """Whether the first row of images is the lowest one, as in FITS."""
        views = self.material.problem.views if self.material.problem is not None else {}
        return any(view.labels is not None and view.labels.kind == "fits" for view in views.values())

    def _sources(self) -> list[dict[str, str]]:
        frozen = self.material.description.get("frozen", [])
        return [
            {
                "name": s,
                "shape": shape_in_words(shape),
                "unit": self.material.unit(s) or "–",
                "role": "known, not learned" if s in frozen else "learned",
            }
            for s, shape in self.material.shapes.items()
        ]

    def _views(self) -> list[dict[str, Any]]:
        rows = []
        for name, known in self.material.description["views"].items():
            row: dict[str, Any] = {
                "name": name,
                "n": number(known["observations"]),
                "held": "–",
                "shape": shape_in_words(tuple(known["shape"])) if known["shape"] else "1 number",
                "noise": "–",
                "snr": "–",
                "missing": "–",
                "mixing": {s: "enters" for s in known["sources"]},
            }
            problem, held = self.material.problem, self.material.held_out
            if problem is not None and name in problem.views:
                view = problem.views[name]
                row |= {
                    "n": number(self.material.learned_from[name]),
                    "noise": noise_in_words(view),
                    "snr": number(signal_to_noise(view), 2),
                    "missing": f"{missing_share(view):.1%}" if view.observed is not None else "none",
                    "mixing": {s: in_words(operator) for s, operator in view.mixing.items()},
                }
            if held is not None and name in held.views:
                row["held"] = number(len(held.views[name]))
            rows.append(row)
        return rows

    def _examples(self) -> list[Figure]:
        problem = self.material.problem
        if problem is None:
            return []

        def make(name: str) -> Figure:
            view = problem.views[name]
            title = f"View “{name}”"
            if is_image(view.event_shape):
                what = "magnitudes of complex values, " if np.iscomplexobj(view.y) else ""
                gaps = ", with gaps (blue) only where nothing was measured" if view.observed is not None else ""
                good = f"good is that they look as you know them{gaps}"
                caption = f"Some observations, {what}with one brightness scale; {good}."
                return Figure(example_strip(view.y, view.observed, name), caption + reduced(view.event_shape), title)
            what = "All observations" if view.y[0].size == 1 else "Some observations, value against entry"
            caption = f"{what}; good is that they look as you know them, in the right units."
            labels = view.labels or Labels()
            lines = example_lines(view.y, view.observed, title, labels.axis(0), labels.unit)
            return Figure(lines, caption, title)

        return self.figures((f"examples of '{name}'", lambda name=name: make(name)) for name in problem.views)

    def separations(self) -> list[dict[str, Any]]:
        """One block of figures for every view, of those that show several sources if there are any."""
        m = self.material
        several = [v for v, separated in m.separated.items() if len(separated.samples) > 1]
        blocks = []
        for name in several or list(m.separated):
            separated = m.separated[name]
            what = f"separation of '{name}'"
            images = [s for s in separated.samples if is_image(m.shapes[s])]
            vectors = [s for s in separated.samples if s not in images]
            figures = []
            if images:
                figures.append(self.part(what, partial(separation_strip, m, separated, images)))
            if vectors:
                figures += self.part(what, partial(vector_figures, m, separated, vectors)) or []
            figures += self.part(f"residuals of '{name}'", partial(residual_figures, separated)) or []
            blocks.append({"name": name, "figures": [figure for figure in figures if figure is not None]})
        return blocks

    def _chi_rows(self, chi: dict[str, ChiSquare]) -> Any:
        meaning = {
            "as stated": "as expected",
            "larger": "larger than expected",
            "smaller": "smaller than expected",
            "unknown": "no finite draw",
        }
        for name, c in chi.items():
            yield {
                "view": name,
                "n": number(len(c.values)),
                "m": "–" if c.m is None else number(np.median(c.m)),
                "mean": with_error(c.mean, c.error),
                "width": number(c.width),
                "expected": number(c.expected_width),
                "diverged": f"{c.diverged:.2%}",
                "verdict": meaning[c.verdict],
            }

    def _facts(self) -> list[tuple[str, str]]:
        m = self.material
        p = m.provenance
        seconds = [float(sum(v for v in (r.get("seconds") or {}).values() if v is not None)) for r in m.records]
        time_taken = f"{len(seconds)} recorded, {_duration(float(sum(seconds)))} in all, without the Gaussian stage"
        facts = [
            ("Run folder", m.path.resolve().name),
            ("Started", str(p.get("started", "–"))),
            ("Devices", ", ".join(p.get("devices", [])) or "–"),
            ("System", f"{p.get('platform', '–')}, Python {p.get('python', '–')}"),
            ("Versions", ", ".join(f"{name} {number}" for name, number in p.get("versions", {}).items())),
            ("Seed", str(m.config.seed)),
            ("Laps", time_taken if seconds else "none"),
            ("Network evaluations", "–" if m.evaluations is None else f"{m.evaluations:,} per draw and source"),
            ("Fingerprint of the data", str(m.description.get("fingerprint", "–"))),
            ("Report", f"written {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} by dichroic {_own_version()}"),
        ]
        return facts

    def _commands(self) -> list[str]:
        m = self.material
        folder, file = m.path.resolve().name, m.description.get("file")
        if file:
            return [
                f"dichroic fit {Path(file).name} --out another-run    # with the settings in {folder}/config.toml",
                command("report", folder),
            ]
        changed = _changed(m.config.model_dump(mode="json"), FitConfig().model_dump(mode="json"))
        return [
            "from dichroic import FitConfig, fit",
            f"config = FitConfig.model_validate({changed!r})",
            "# the problem was made in Python: make it in the same way, and its held-out set if it had one",
            'fit(problem, config, held_out=held_out, out="another-run")',
        ]


def _choices(material: Material) -> Iterator[dict[str, str]]:
    """A row for every source and view; of what had nothing to prove one without a view."""
    for c in choices(material.records, material.description).values():
        row = {"source": c.source, "prior": c.prior, "tried": c.tried or "–", "reading": c.reading}
        for view, f in c.proof.items() or [("–", None)]:
            numbers = ("–", "–") if f is None else (f"{f.errors:+.1f}", f"{f.place:.1f}" if f.told else "–")
            yield {**row, "view": view, "errors": numbers[0], "place": numbers[1]}


def _area(area: float, error: float) -> str:
    return f"{area:.2f} ± {error:.2f}"


def _changed(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from the defaults."""
    found = {}
    for key, value in settings.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value, default = _changed(value, default), {}
        if value != default:
            found[key] = value
    return found


def _duration(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "an unknown time"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"


def _own_version() -> str:
    try:
        return version("dichroic")
    except PackageNotFoundError:
        from dichroic import __version__

        return __version__


def render(name: str, content: dict[str, Any]) -> str:
    """A template of this package, filled in."""
    from jinja2 import Environment, StrictUndefined

    folder = files("dichroic.report")
    template = folder.joinpath(name).read_text(encoding="utf-8")
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(**content, style=style)
