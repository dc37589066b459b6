"""Separation of images: a table with an observation per block of rows and a source per row."""

from html import escape

import numpy as np

from dichroic.report.cells import cell, colour_bar
from dichroic.report.material import Material, Separated
from dichroic.report.pictures import SIGMAS, finite_range, is_image, nan_stat
from dichroic.report.residuals import residuals
from dichroic.report.theme import Figure

__all__ = ["chosen", "example_strip", "separation_strip"]

_DRAWS = 3


def chosen(n: int, count: int = 6) -> np.ndarray:
    """Some observations spread evenly over the set, whatever their results."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int)) if n else np.zeros(0, int)


def example_strip(y: np.ndarray, observed: np.ndarray | None, alt: str) -> str:
    """Some observations of a view side by side."""
    index = chosen(len(y), 8)
    shown = _seen(y[index], None if observed is None else observed[index])
    limits = finite_range(shown)
    cells = "".join(cell(x, limits, f"{escape(alt)}, observation {i}") for i, x in zip(index, shown, strict=True))
    return f'<div class="strip">{cells}</div>'


def separation_strip(material: Material, separated: Separated, sources: list[str]) -> Figure:
    """Observation, mean, standard deviation, draws, truth and residual."""
    view = separated.view
    index = chosen(len(separated))
    draws = {s: [separated.draws(s, i) for i in index] for s in separated.samples}
    means = {s: [nan_stat("nanmean", x, axis=0) for x in draws[s]] for s in sources}
    stds = {s: [_std(x) for x in draws[s]] for s in sources}
    truth = {s: view.truth[s][index] for s in sources if view is not None and s in view.truth}
    shown = min(_DRAWS, draws[sources[0]][0].shape[0])
    several = draws[sources[0]][0].shape[0] > 1
    limits = {
        s: finite_range(*(x[:shown] for x in draws[s]), *means[s], *truth.get(s, [])) for s in sources
    }
    widths = {s: (0.0, finite_range(*stds[s])[1]) for s in sources}
    columns = ["source", *(["mean", "st. dev."] if several else [])]
    columns += [f"draw {k + 1}" for k in range(shown)] + (["truth"] if truth else [])
    y = r = y_limits = None
    if view is not None:
        observed = None if view.observed is None else view.observed[index]
        y = _seen(view.y[index], observed)
        y_limits = finite_range(y)
        r = _seen(residuals(view, {s: np.stack([x[0] for x in draws[s]]) for s in draws}, index), observed, np.real)
        columns = ["observation", *columns, "residual"]
    head = "".join(f"<th>{c}</th>" for c in columns)
    rows = []
    for k, i in enumerate(index):
        for j, s in enumerate(sources):
            name = escape(s)
            what = f"observation {i}, {name}"
            row = [f'<th scope="row">{name}</th>']
            if several:
                row.append(_td(cell(means[s][k], limits[s], f"{what}: mean")))
                row.append(_td(cell(stds[s][k], widths[s], f"{what}: standard deviation", "magma")))
            row += [_td(cell(draws[s][k][d], limits[s], f"{what}: draw {d + 1}")) for d in range(shown)]
            if truth:
                row.append(_td(cell(truth[s][k], limits[s], f"{what}: truth"), "truth") if s in truth else "<td>–</td>")
            if j == 0 and y is not None and r is not None and y_limits is not None:
                span = f' rowspan="{len(sources)}"'
                row.insert(0, f"<td{span}>{cell(y[k], y_limits, f'observation {i}')}<small>no. {i}</small></td>")
                row.append(f"<td{span}>{cell(r[k], (-SIGMAS, SIGMAS), f'observation {i}: residual', 'RdBu_r')}</td>")
            rows.append(f'<tr{" class=first" if j == 0 else ""}>{"".join(row)}</tr>')
    bars = [colour_bar("observation", y_limits, "gray")] if y_limits is not None and is_image(view.event_shape) else []
    for s in sources:
        bars.append(colour_bar(escape(s), limits[s], "gray", escape(material.unit(s))))
        if several:
            bars.append(colour_bar(f"{escape(s)}: st. dev.", widths[s], "magma", escape(material.unit(s))))
    if r is not None:
        bars.append(colour_bar("residual", (-SIGMAS, SIGMAS), "RdBu_r", "σ"))
    table = f'<div class="scroll"><table class="pictures"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return Figure(table + f'<div class="bars">{"".join(bars)}</div>', _caption(material, bool(truth), several, r is not None))


def _caption(material: Material, truth: bool, several: bool, residual: bool) -> str:
    text = f"Some of {material.judged_on}, spread evenly over the set (not chosen by result), and what they were separated into"
    good = []
    if several:
        good.append("draws that differ from each other only where the standard deviation says so")
    if truth:
        good.append("a truth that could pass for one of the draws")
    if residual:
        good.append(f"residuals of the first draw (in units of the noise σ, colours end at ±{SIGMAS:.0f}) without structure")
    return text + ("; good is " + ", and ".join(good) if good else "") + "."


def _std(x: np.ndarray) -> np.ndarray:
    return nan_stat("nanstd", x, axis=0) * np.sqrt(len(x) / max(len(x) - 1, 1))


def _td(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _seen(y: np.ndarray, observed: np.ndarray | None, part=np.abs) -> np.ndarray:
    """What was observed, NaN elsewhere; complex values by their magnitude (or another `part`)."""
    y = part(y) if np.iscomplexobj(y) else np.asarray(y, float)
    return y if observed is None else np.where(observed, y, np.nan)
