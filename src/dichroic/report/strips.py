"""Separation of images: a table with an observation per block of rows and a source per row."""

from collections.abc import Callable
from html import escape

import numpy as np

from dichroic.report.cells import cell, colour_bar
from dichroic.report.material import Material, Separated
from dichroic.report.pictures import LARGEST, SIGMAS, finite_range, is_image, nan_stat
from dichroic.report.residuals import as_drawn, residuals
from dichroic.report.stretch import Scale
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
    scale = Scale.of(shown)
    cells = "".join(cell(x, scale, f"{name}, observation {i}") for i, x in zip(index, shown, strict=True))
    return f'<div class="strip">{cells}</div>{scale.filters()}'


def separation_strip(material: Material, separated: Separated, sources: list[str]) -> Figure:
    """Observation, mean, standard deviation, draws, truth and residual."""
    table = _Strip(separated, sources)
    bars = table.bars(material)
    columns = f'style="--columns:{len(table.columns)}"'
    html = f'<div class="scroll"><table class="pictures" {columns}>{table.head()}{table.body()}</table></div>'
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
        limits = {
            s: finite_range(*(x[: self.shown] for x in draws[s]), *self.means[s], *self.truth.get(s, []))
            for s in sources
        }
        self.scales = {s: Scale.of(*self.means[s], limits=limits[s]) for s in sources}
        self.seen_scales = {s: Scale.of(*x) for s, x in self.seen.items()}
        self.names = [separated.labels.name(int(i)) for i in self.index]
        self.usable = [separated.usable(i) for i in self.index]
        self.beside = {
            title: {s: [_magnitude(x[s][int(i)]) for i in self.index] for s in sources if s in x}
            for title, x in separated.beside.items()
        }
        self.beside = {title: x for title, x in self.beside.items() if x}
        self.widths = {s: Scale((0.0, finite_range(*self.stds[s])[1]), "magma") for s in sources}
        self.y = self.r = None
        if view is not None:
            observed = None if view.observed is None else view.observed[self.index]
            first = separated.unmixed(self.index)
            self.y = _seen(view.y[self.index], observed)
            if set(view.mixing) <= set(first):  # else there is no residual
                r = residuals(view, first, self.index)
                if as_drawn(separated, r, self.index):
                    self.r = _merged(_seen(r, observed, np.real), noise=True)
        self.y_scale, self.r_scale = Scale.of(self.y), Scale((-SIGMAS, SIGMAS), "RdBu_r")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of pictures."""
        names = ["observed"] if self.y is not None else []
        names += ["mean", "st. dev."] if self.several else []
        names += ["as seen"] if self.seen else []
        names += [f"draw {k + 1}" for k in range(self.shown)] + (["truth"] if self.truth else [])
        return [*names, *self.beside, *(["residual"] if self.r is not None else [])]

    def head(self) -> str:
        """The names, that of the source before those of its pictures."""
        names = [escape(name) for name in self.columns]
        names.insert(int(self.y is not None), "source")
        return "<thead><tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr></thead>"

    def body(self) -> str:
        """One row per observation and source."""
        rows = (self._row(k, j, s) for k in range(len(self.index)) for j, s in enumerate(self.sources))
        return f"<tbody>{''.join(rows)}</tbody>"

    def _row(self, k: int, j: int, s: str) -> str:
        name, scale = self.names[k], self.scales[s]
        what = f"observation {name}, {s}"
        cells = [f'<th scope="row">{escape(s)}</th>']

        def add(column: str, x: np.ndarray | None, scale: Scale = scale, kind: str = "") -> None:
            shown = "–" if x is None else cell(x, scale, f"{what}: {column}")
            cells.append(_td(shown, column, kind))

        if self.several:
            add("mean", self.means[s][k])
            add("st. dev.", self.stds[s][k], self.widths[s])
        if self.seen:
            add("as seen", self.seen[s][k] if s in self.seen else None, self.seen_scales.get(s, scale))
        for d in range(self.shown):
            add(f"draw {d + 1}", self.draws[s][k][d])
        if self.truth:
            add("truth", self.truth[s][k] if s in self.truth else None, kind="truth" if s in self.truth else "")
        for title, x in self.beside.items():
            add(title, x[s][k] if s in x else None)
        rows = f'rowspan="{len(self.sources)}"'
        if j == 0 and self.y is not None:
            observed = cell(self.y[k], self.y_scale, f"observation {name}")
            remark = "" if self.usable[k] else "<small><b>no usable draw</b></small>"
            cells.insert(0, _td(f"{observed}<small>{escape(name)}</small>{remark}", "observed", rows=rows))
        if j == 0 and self.r is not None:
            residual = cell(self.r[k], self.r_scale, f"observation {name}: residual", average=False)
            cells.append(_td(residual, "residual", rows=rows))
        return f"<tr{' class=first' if j == 0 else ''}>{''.join(cells)}</tr>"

    def bars(self, material: Material) -> list[str]:
        """The colour scales."""
        bars = []
        if self.y is not None and is_image(self.y.shape[1:]):
            bars.append(colour_bar("observed", self.y_scale))
        for s in self.sources:
            bars.append(colour_bar(s, self.scales[s], material.unit(s)))
            if s in self.seen:
                bars.append(colour_bar(f"{s}: as seen", self.seen_scales[s]))
            if self.several:
                bars.append(colour_bar(f"{s}: st. dev.", self.widths[s], material.unit(s)))
        if self.r is not None and is_image(self.r.shape[1:]):
            bars.append(colour_bar("residual", self.r_scale, "σ"))
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


def _td(content: str, column: str, kind: str = "", rows: str = "") -> str:
    said = " ".join(x for x in (f'class="{kind}"' if kind else "", rows) if x)
    return f'<td data-column="{escape(column)}"{f" {said}" if said else ""}>{content}</td>'


def _seen(y: np.ndarray, observed: np.ndarray | None, part: Callable[[np.ndarray], np.ndarray] = np.abs) -> np.ndarray:
    """What was observed, NaN elsewhere; complex values by their magnitude (or another `part`)."""
    y = part(y) if np.iscomplexobj(y) else np.asarray(y, float)
    return y if observed is None else np.where(observed, y, np.nan)
