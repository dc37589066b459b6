"""Separation of images: a table with an observation per block of rows and a source per row."""

from collections.abc import Callable
from html import escape

import numpy as np

from dichroic.report.cells import cell, colour_bar
from dichroic.report.material import Material, Separated
from dichroic.report.pictures import LARGEST, SIGMAS, finite_range, is_image, nan_stat, softening
from dichroic.report.residuals import residuals
from dichroic.report.theme import Figure

__all__ = ["chosen", "example_strip", "reduced", "separation_strip"]

_DRAWS = 3


def chosen(n: int, count: int = 6) -> np.ndarray:
    """Some observations spread evenly over the set, whatever their results."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int)) if n else np.zeros(0, int)


def reduced(*shapes: tuple[int, ...]) -> str:
    """A remark for captions where images are larger than what is shown."""
    large = any(is_image(shape) and max(shape[:2]) > LARGEST for shape in shapes)
    return " Shown at reduced resolution." if large else ""


def example_strip(y: np.ndarray, observed: np.ndarray | None, name: str) -> str:
    """Some observations of a view side by side."""
    index = chosen(len(y), 10)
    shown = _seen(y[index], None if observed is None else observed[index])
    limits = finite_range(shown)
    soft = softening(shown, limits=limits)
    cells = "".join(cell(x, limits, f"{name}, observation {i}", soft=soft) for i, x in zip(index, shown, strict=True))
    return f'<div class="strip">{cells}</div>'


def separation_strip(material: Material, separated: Separated, sources: list[str]) -> Figure:
    """Observation, mean, standard deviation, draws, truth and residual."""
    table = _Strip(separated, sources)
    bars = table.bars(material)
    html = f'<div class="scroll"><table class="pictures">{table.head()}{table.body()}</table></div>'
    return Figure(html + f'<div class="bars">{"".join(bars)}</div>', _caption(material, table))


class _Strip:
    """The pictures of some observations of a view, and their colour scales, one per source for all of them."""

    def __init__(self, separated: Separated, sources: list[str]):
        view = separated.view
        self.sources, self.index = sources, chosen(len(separated))
        draws = {s: [separated.draws(s, i) for i in self.index] for s in separated.samples}
        total = separated.diverged.shape[1]
        self.several, self.shown = total > 1, min(_DRAWS, total)
        self.draws = {s: draws[s] for s in sources}
        self.means = {s: [separated.mean(s, i) for i in self.index] for s in sources}
        seen = {s: [separated.seen(s, i) for i in self.index] for s in sources}
        self.seen = {s: [a for a in x if a is not None] for s, x in seen.items() if x and x[0] is not None}
        self.stds = {s: [_merged(_std(x)[None])[0] for x in draws[s]] for s in sources}
        self.truth = {s: x[self.index] for s in sources if (x := separated.truth(s)) is not None}
        self.limits = {
            s: finite_range(*(x[: self.shown] for x in draws[s]), *self.means[s], *self.truth.get(s, []))
            for s in sources
        }
        self.softs = {s: softening(*self.means[s], limits=self.limits[s]) for s in sources}
        self.seen_limits = {s: finite_range(*x) for s, x in self.seen.items()}
        self.seen_softs = {s: softening(*x, limits=self.seen_limits[s]) for s, x in self.seen.items()}
        self.names = [separated.labels.name(int(i)) for i in self.index]
        self.usable = [separated.usable(i) for i in self.index]
        self.beside = {
            title: {s: [_magnitude(x[s][int(i)]) for i in self.index] for s in sources if s in x}
            for title, x in separated.beside.items()
        }
        self.beside = {title: x for title, x in self.beside.items() if x}
        self.widths = {s: (0.0, finite_range(*self.stds[s])[1]) for s in sources}
        self.y = self.r = None
        if view is not None:
            observed = None if view.observed is None else view.observed[self.index]
            first = separated.unmixed(self.index)
            self.y = _seen(view.y[self.index], observed)
            if set(view.mixing) <= set(first):  # a method that estimates some of the sources leaves no residual
                self.r = _merged(_seen(residuals(view, first, self.index), observed, np.real), noise=True)
        self.y_limits = finite_range(self.y)
        self.y_soft = softening(self.y, limits=self.y_limits)

    def head(self) -> str:
        """Names of the columns."""
        names = ["source", *(["mean", "st. dev."] if self.several else []), *(["as seen"] if self.seen else [])]
        names += [f"draw {k + 1}" for k in range(self.shown)] + (["truth"] if self.truth else [])
        names += [escape(title) for title in self.beside]
        names = ["observed", *names] if self.y is not None else names
        names += ["residual"] if self.r is not None else []
        return "<thead><tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr></thead>"

    def body(self) -> str:
        """One row per observation and source."""
        rows = (self._row(k, j, s) for k in range(len(self.index)) for j, s in enumerate(self.sources))
        return f"<tbody>{''.join(rows)}</tbody>"

    def _row(self, k: int, j: int, s: str) -> str:
        name, limits, soft = self.names[k], self.limits[s], self.softs[s]
        what = f"observation {name}, {s}"
        cells = [f'<th scope="row">{escape(s)}</th>']
        if self.several:
            cells.append(_td(cell(self.means[s][k], limits, f"{what}: mean", soft=soft)))
            cells.append(_td(cell(self.stds[s][k], self.widths[s], f"{what}: standard deviation", "magma")))
        if self.seen:
            shown = (
                _td("–")
                if s not in self.seen
                else _td(cell(self.seen[s][k], self.seen_limits[s], f"{what}: as seen", soft=self.seen_softs[s]))
            )
            cells.append(shown)
        cells += [_td(cell(self.draws[s][k][d], limits, f"{what}: draw {d + 1}", soft=soft)) for d in range(self.shown)]
        if self.truth:
            known = s in self.truth
            cells.append(
                _td(cell(self.truth[s][k], limits, f"{what}: truth", soft=soft), "truth") if known else _td("–")
            )
        for title, x in self.beside.items():
            cells.append(_td(cell(x[s][k], limits, f"{what}: {title}", soft=soft) if s in x else "–"))
        span = f' rowspan="{len(self.sources)}"'
        if j == 0 and self.y is not None:
            observed = cell(self.y[k], self.y_limits, f"observation {name}", soft=self.y_soft)
            remark = "" if self.usable[k] else "<small><b>no usable draw</b></small>"
            cells.insert(0, f"<td{span}>{observed}<small>{escape(name)}</small>{remark}</td>")
        if j == 0 and self.r is not None:
            residual = cell(self.r[k], (-SIGMAS, SIGMAS), f"observation {name}: residual", "RdBu_r", average=False)
            cells.append(f"<td{span}>{residual}</td>")
        return f"<tr{' class=first' if j == 0 else ''}>{''.join(cells)}</tr>"

    def bars(self, material: Material) -> list[str]:
        """The colour scales."""
        bars = []
        if self.y is not None and is_image(self.y.shape[1:]):
            bars.append(colour_bar("observed", self.y_limits, "gray", soft=self.y_soft))
        for s in self.sources:
            bars.append(colour_bar(s, self.limits[s], "gray", material.unit(s), self.softs[s]))
            if s in self.seen:
                bars.append(colour_bar(f"{s}: as seen", self.seen_limits[s], "gray", soft=self.seen_softs[s]))
            if self.several:
                bars.append(colour_bar(f"{s}: st. dev.", self.widths[s], "magma", material.unit(s)))
        if self.r is not None and is_image(self.r.shape[1:]):
            bars.append(colour_bar("residual", (-SIGMAS, SIGMAS), "RdBu_r", "σ"))
        return bars


def _caption(material: Material, strip: _Strip) -> str:
    good = []
    if strip.several:
        good.append("draws that differ from each other only where the standard deviation says so")
    if strip.seen:
        good.append("a mean that, as the view shows it (as seen), lacks nothing that is seen in the observation")
    if strip.truth:
        good.append("a truth (framed) that could pass for one of the draws")
    if strip.r is not None:
        good.append(f"residuals of the first draw, in units of the noise σ and cut at ±{SIGMAS:.0f}, without structure")
    if strip.beside:
        good.append(
            "more of the truth, and less of the other sources, than in what one would have without this fit (last)"
        )
    text = f"Some of {material.judged_on}, spread evenly over the set and not chosen by result, "
    text += "and what they were separated into"
    shapes = [material.shapes[s] for s in strip.sources]
    return text + ("; good is " + "; ".join(good) if good else "") + "." + reduced(*shapes)


def _merged(x: np.ndarray, noise: bool = False) -> np.ndarray:
    """Pictures in colour with their channels averaged, for scales that have colours of their own; what is `noise` keeps
    its standard deviation.
    """
    if not (is_image(x.shape[1:]) and x.shape[-1] == 3 and x.ndim == 4):
        return x
    return nan_stat("nanmean", x, axis=-1) * (np.sqrt(np.maximum(np.isfinite(x).sum(-1), 1)) if noise else 1.0)


def _magnitude(x: np.ndarray) -> np.ndarray:
    return np.abs(x) if np.iscomplexobj(x) else np.asarray(x, float)


def _std(x: np.ndarray) -> np.ndarray:
    return nan_stat("nanstd", x, axis=0) * np.sqrt(len(x) / max(len(x) - 1, 1))


def _td(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _seen(y: np.ndarray, observed: np.ndarray | None, part: Callable[[np.ndarray], np.ndarray] = np.abs) -> np.ndarray:
    """What was observed, NaN elsewhere; complex values by their magnitude (or another `part`)."""
    y = part(y) if np.iscomplexobj(y) else np.asarray(y, float)
    return y if observed is None else np.where(observed, y, np.nan)
