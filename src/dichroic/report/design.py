"""What the design of the observations allows: numbers, expected contraction, and patterns the data cannot see."""

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from dichroic.design.null_space import describe_direction
from dichroic.design.report import DesignReport, check_design
from dichroic.design.spectrum import Direction, Spectrum
from dichroic.report.cells import cell, colour_bar
from dichroic.report.describe import number
from dichroic.report.material import Material
from dichroic.report.stretch import Scale
from dichroic.report.strips import reduced
from dichroic.report.theme import Figure
from dichroic.run import RunFolder

__all__ = ["design_section", "null_figure"]

_SCALE = Scale((-1.0, 1.0), "RdBu_r")

_LABELS = {
    "green": "The sources can be told apart",
    "amber": "The sources can be told apart, but not all of their patterns well",
    "red": "Not everything can be learned from this design",
}


def design_section(material: Material, part: Callable[[str, Callable[[], Any]], Any]) -> dict[str, Any] | None:
    """What the template asks for; None where neither the run nor the observations tell.

    `part(what, make)` makes one part and notes on the page when it cannot.
    """
    report = RunFolder(material.path).design()
    if report is None and material.problem is not None:
        report = check_design(material.problem, known=material.description.get("frozen", ()))
    if report is None:
        return None
    findings = report.findings()
    level = findings[0].level if findings else "green"
    return {
        "level": {"green": "fine", "amber": "look", "red": "look"}[level],
        "label": _LABELS[level],
        "findings": [
            {"level": f.level, "text": f"{f.where}: {f.text}"[:1].upper() + f"{f.where}: {f.text}"[1:], "code": f.code}
            for f in findings
        ]
        + [{"level": "green", "text": sentence.capitalize(), "code": ""} for sentence in _instrument(material)],
        "fixes": report.fixes,
        "rows": [_row("means", report.means), _row("covariances", report.covariances)],
        "sources": list(report.shapes),
        "contraction": [
            {"view": view, "shares": [f"{shares[s]:.0%}" if s in shares else "" for s in report.shapes]}
            for view, shares in report.contraction.items()
        ],
        "figure": part("the patterns that the data cannot see", lambda: null_figure(report, material)),
    }


def _instrument(material: Material) -> list[str]:
    """What was learned of the instrument."""
    found = RunFolder(material.path).instrument()
    return [] if found is None else found.sentences()


def null_figure(report: DesignReport, material: Material | None = None) -> Figure | None:
    """The patterns of a null space, and the worst-determined one outside it, one per row and a source per column."""
    directions = report.means.directions
    if not directions:
        return None
    sizes = {s: int(np.prod(shape)) for s, shape in report.shapes.items()}
    head = "".join(f"<th>{escape(s)}</th>" for s in report.shapes)
    rows = []
    for direction in directions:
        cells = "".join(f"<td>{_cell(direction, s, shape)}</td>" for s, shape in report.shapes.items())
        rows.append(f"<tr>{cells}<td>{escape(_words(direction, sizes))}</td></tr>")
    html = f'<div class="scroll"><table class="pictures"><thead><tr>{head}<th></th></tr></thead>'
    bars = f'<div class="bars">{colour_bar("pattern", _SCALE)}</div>'
    shapes = list(report.shapes.values()) if material is not None else []
    caption = (
        "Patterns that the data say least about, each scaled to its largest value, sources being as strong as their "
        "best view sees them: adding one, in any amount, leaves all data (nearly) unchanged. Good is that all of them "
        "are ones that are of no interest."
    )
    return Figure(f"{html}<tbody>{''.join(rows)}</tbody></table></div>{bars}", caption + reduced(*shapes))


def _cell(direction: Direction, source: str, shape: tuple[int, ...]) -> str:
    largest = max(float(np.abs(x).max(initial=0)) for x in direction.pattern.values()) or 1.0
    x = np.asarray(direction.pattern.get(source, np.zeros(shape)), float) / largest
    # a pattern finer than what is shown would be averaged away
    return cell(x, _SCALE, f"{direction.kind} pattern, part of {source}", average=False)


def _words(direction: Direction, sizes: dict[str, int]) -> str:
    if direction.information == 0:
        return f"{direction.kind}: {describe_direction(direction, sizes)}"
    return f"worst-determined of the others: {1 / direction.information:.3g} times less well than the best"


def _row(order: str, spectrum: Spectrum) -> dict[str, str]:
    at_least = "" if spectrum.exact or spectrum.order == 2 else "at least "
    return {
        "order": order,
        "condition": "infinite" if spectrum.null else at_least + number(spectrum.condition),
        "rest": at_least + number(spectrum.condition_rest),
        "unknowns": number(spectrum.unknowns),
        "null": number(spectrum.null),
        "route": spectrum.route,
    }
