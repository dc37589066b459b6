"""Separation of vectors: curves with bands, and scatter plots where a sample is a few numbers only."""

from html import escape
from typing import Any

import numpy as np

from dichroic.formats import Axis
from dichroic.report.material import Material, Separated
from dichroic.report.pictures import SIGMAS, kind, nan_stat
from dichroic.report.residuals import residuals
from dichroic.report.strips import chosen
from dichroic.report.theme import INK, MUTED, Figure, colour, dots, panel

__all__ = ["example_lines", "pairs", "thin", "vector_figures"]

_CLOUD, _CURVES, _HIGHLIGHTS, _SCALARS = 400, 6, 3, 40
_SERIES_LENGTH = 16  # entries from which a spectrum is shown


def vector_figures(material: Material, separated: Separated, sources: list[str]) -> list[Figure]:
    """Everything about the vector sources of a view."""
    figures = []
    for s in sources:
        make = {"pairs": _scatter, "line": _bands, "scalar": _scalar}[kind(material.shapes[s])]
        figures.append(make(separated, s, material.unit(s)))
    if series := [s for s in sources if _step(separated, s)]:
        figures.append(_spectra(separated, series))
    residual = _residual(separated)
    return [*figures, residual] if residual is not None else figures


def pairs(size: int, most: int = 3) -> list[tuple[int, int]]:
    """Pairs of neighbouring entries, 1 and 2 first."""
    return [(i, i + 1) for i in range(size - 1)][:most]


def thin(size: int, most: int = 256) -> np.ndarray:
    """Entries of a long vector that are enough for a curve."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int))


def example_lines(y: np.ndarray, observed: np.ndarray | None, label: str, along: Axis | None = None) -> str:
    """Some observations of a view as curves; all of them as a histogram where each is a single value."""
    y = np.abs(y) if np.iscomplexobj(y) else np.asarray(y, float)
    y = (y if observed is None else np.where(observed, y, np.nan)).reshape(len(y), -1)
    index, at = chosen(len(y), 5), thin(y.shape[1])
    places, name = along_axis(along or Axis(), y.shape[1])

    def draw(axes: Any) -> None:
        if y.shape[1] == 1:
            axes.hist(y[np.isfinite(y)], 30, color=colour(0), alpha=0.75)
            axes.set_xlabel("observed value")
            axes.set_ylabel("observations")
            return
        for k, i in enumerate(index):
            marker = "o" if len(at) <= 16 else None
            axes.plot(places[at], y[i, at], color=colour(k), linewidth=1.1, marker=marker, markersize=3)
        axes.set_xlabel(name)
        axes.set_ylabel("observed value")
        if len(at) <= 12:
            axes.set_xticks(places[at])

    return panel(draw, label, height=190)


def along_axis(axis: Axis, size: int) -> tuple[np.ndarray, str]:
    """Where entries stand along an axis, and what it is called: coordinates in their unit, or numbers from 1."""
    found = axis.coordinates(size)
    if found is None or found.dtype.kind not in "iuf":
        return np.arange(1, size + 1), axis.name or "entry"
    return np.asarray(found, float), f"{axis.name or 'entry'} [{axis.unit}]" if axis.unit else axis.name or "entry"


def _group(panels: list[str]) -> str:
    return f'<div class="panels">{"".join(panels)}</div>'


def _axis(source: str, unit: str) -> str:
    return f"{source} [{unit}]" if unit else source


def _truth(separated: Separated, source: str) -> np.ndarray | None:
    return separated.truth(source)


def _scatter(separated: Separated, source: str, unit: str) -> Figure:
    """Posterior draws of a few observations over those of all, and draws against the truth."""
    cloud = separated.first_draws(source, _CLOUD)
    cloud = cloud.reshape(len(cloud), -1)
    index = chosen(len(separated), _HIGHLIGHTS)
    picked = [separated.draws(source, i).reshape(-1, cloud.shape[1]) for i in index]
    truth = _truth(separated, source)
    panels = []
    for a, b in pairs(cloud.shape[1]):

        def draw(axes: Any, a: int = a, b: int = b) -> None:
            dots(axes, cloud[:, a], cloud[:, b], MUTED, 1.8)
            for k, x in enumerate(picked):
                dots(axes, x[:, a], x[:, b], colour(k), 4.5)
            for k, i in enumerate(index if truth is not None else []):
                t = truth[i].ravel()  # pyright: ignore[reportOptionalSubscript]
                axes.plot(t[a], t[b], "+", color=INK, markersize=13, markeredgewidth=3.6)
                axes.plot(t[a], t[b], "+", color=colour(k), markersize=11, markeredgewidth=1.6)
            axes.set_xlabel(f"entry {a + 1}")
            axes.set_ylabel(f"entry {b + 1}")

        panels.append(panel(draw, f"{source} in {separated.name}: entries {a + 1} and {b + 1}", height=250))
    caption = (
        f"Posterior draws of {len(index)} observations (one colour each) over one of every observation (grey); good "
        + (
            "is a true value (cross) among the dots of its colour."
            if truth is not None
            else "is dots within the grey cloud."
        )
    )
    if truth is not None:
        panels.append(_agreement(separated, source, truth, unit))
        caption = caption[:-1] + ", and, in the last panel, single entries of draws along the line of equal values."
    return Figure(_group(panels), caption, f"Source “{source}”")


def _bands(separated: Separated, source: str, unit: str) -> Figure:
    """Mean, band and draws against the entry, one panel per observation."""
    truth = _truth(separated, source)
    panels = []
    axis = separated.labels.axis(0)
    for i in chosen(len(separated), _CURVES):
        name = escape(separated.labels.name(int(i)))
        if not separated.usable(i):
            panels.append(f"<div><h4>{name}</h4><p>No usable draw: all of them diverged.</p></div>")
            continue
        x = separated.draws(source, i).reshape(separated.diverged.shape[1], -1)
        at = thin(x.shape[1])
        x = x[:, at]
        mean, std = separated.mean(source, i).ravel()[at], nan_stat("nanstd", x, axis=0)
        t = None if truth is None else truth[i].ravel()[at]

        places, along = along_axis(axis, separated.draws(source, i)[0].size)
        top = _top(axis, separated.mean(source, i).ravel())

        def draw(axes: Any, x=x, at=places[at], mean=mean, std=std, t=t, along=along, top=top) -> None:
            axes.fill_between(
                at, mean - 2 * std, mean + 2 * std, color=colour(0), alpha=0.25, linewidth=0, label="± 2 σ"
            )
            axes.plot(at, mean, color=colour(0), label="mean")
            for k in range(min(2, len(x))):
                axes.plot(at, x[k], color=MUTED, linewidth=0.7, label="draws" if k == 0 else "_")
            if t is not None:
                axes.plot(at, t, color=colour(1), linewidth=1.2, linestyle="--", label="truth")
            axes.set_xlabel(along)
            axes.set_ylabel(_axis(source, unit))
            for place, value, label in top:
                axes.annotate(label, (place, value), fontsize=7, color=INK)

        drawn = panel(draw, f"{source} in {separated.name}, observation {separated.labels.name(int(i))}", legend=True)
        panels.append(f"<div><h4>{name}</h4>{drawn}</div>")
    if truth is not None:
        panels.append(f"<div><h4>Draws against the truth</h4>{_agreement(separated, source, truth, unit)}</div>")
    good = "a truth inside the band nearly everywhere" if truth is not None else "draws that look like real signals"
    caption = (
        f"Posterior mean, two standard deviations to either side, and two draws of some observations; good is {good}."
    )
    return Figure(_group(panels), caption, f"Source “{source}”")


def _step(separated: Separated, source: str) -> float | None:
    """Seconds between two entries of a source that is a series on the grid of the data."""
    axis, shape = separated.labels.axis(0), separated.first_draws(source, 1).shape[1:]
    on_grid = separated.view is not None and shape == separated.view.event_shape
    return axis.step if axis.unit == "s" and on_grid and len(shape) == 1 and shape[0] >= _SERIES_LENGTH else None


def _spectra(separated: Separated, sources: list[str]) -> Figure:
    """Mean power of single draws (of the truth, too) by frequency."""

    def power(x: np.ndarray) -> np.ndarray:
        x = x[np.isfinite(x).all(1)]
        return np.mean(np.abs(np.fft.rfft(x * np.hanning(x.shape[1]))) ** 2, 0)

    def draw(axes: Any) -> None:
        for k, s in enumerate(sources):
            x = separated.first_draws(s, _CLOUD)
            frequencies = np.fft.rfftfreq(x.shape[1], _step(separated, s) or 1.0)
            axes.plot(frequencies[1:], power(x)[1:], color=colour(k), label=s)
            if (truth := _truth(separated, s)) is not None:
                axes.plot(frequencies[1:], power(truth[:_CLOUD])[1:], color=colour(k), linestyle="--", linewidth=1)
        axes.set_yscale("log")
        axes.set_xlabel("frequency [Hz]")
        axes.set_ylabel("power")

    known = any(_truth(separated, s) is not None for s in sources)
    good = (
        "lines along the dashed ones, of the truth" if known else "lines of the shape that each source is known to have"
    )
    caption = f"Power of draws by frequency, averaged over observations; good is {good}."
    return Figure(_group([panel(draw, f"Spectra in {separated.name}", legend=True)]), caption, "Spectra")


def _top(axis: Axis, mean: np.ndarray, most: int = 4) -> list[tuple[float, float, str]]:
    """Names of the entries with the largest means, where entries have names: genes, say."""
    names = axis.coordinates(len(mean))
    if names is None or names.dtype.kind in "iuf":
        return []
    order = np.argsort(-np.where(np.isfinite(mean), np.abs(mean), -1))[:most]
    return [(float(i + 1), float(mean[i]), str(names[i])) for i in order if np.isfinite(mean[i])]


def _scalar(separated: Separated, source: str, unit: str) -> Figure:
    """Mean and standard deviation, against the truth or the number of the observation."""
    index = np.arange(min(_SCALARS, len(separated)))
    x = np.stack([separated.draws(source, i).ravel() for i in index])
    truth = _truth(separated, source)
    at = index if truth is None else np.asarray(truth[index], float).ravel()

    def draw(axes: Any) -> None:
        mean, std = np.array([separated.mean(source, i).item() for i in index]), nan_stat("nanstd", x, axis=1)
        axes.errorbar(at, mean, std, fmt="o", color=colour(0), markersize=3, linewidth=1)
        if truth is not None:
            _diagonal(axes, at, mean)
        axes.set_xlabel("observation" if truth is None else "truth")
        axes.set_ylabel(_axis(source, unit))

    good = "" if truth is None else "; good is two thirds of the bars crossing the line of equal values"
    caption = f"Posterior mean and standard deviation of some observations{good}."
    return Figure(panel(draw, f"{source} in {separated.name}"), caption, f"Source “{source}”")


def _agreement(separated: Separated, source: str, truth: np.ndarray, unit: str) -> str:
    """A draw against the truth, entry by entry."""
    x = separated.first_draws(source, _CLOUD)
    pick = np.random.default_rng(0).permutation(x.size)[:1500]
    t, x = np.asarray(truth[: len(x)], float).ravel()[pick], x.ravel()[pick]

    def draw(axes: Any) -> None:
        dots(axes, t, x, colour(0), 2.2)
        _diagonal(axes, t, x)
        axes.set_xlabel(f"true {_axis(source, unit)}")
        axes.set_ylabel("posterior draw")

    return panel(draw, f"{source} in {separated.name}: draw against truth", height=250)


def _diagonal(axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    both = np.concatenate([x, y])
    both = both[np.isfinite(both)]
    if both.size:
        axes.plot([both.min(), both.max()], [both.min(), both.max()], color=INK, linewidth=0.9)


def _residual(separated: Separated) -> Figure | None:
    """Residuals of one draw, all entries together, against the normal distribution; none without all the sources."""
    view = separated.view
    if view is None or not set(view.mixing) <= set(separated.samples):
        return None
    index = np.arange(min(_CLOUD, len(separated)))
    r = residuals(view, separated.unmixed(index), index)
    if view.observed is not None:
        r = r[view.observed[index]]
    r = np.concatenate([np.real(r).ravel(), np.imag(r).ravel()]) if np.iscomplexobj(r) else r.ravel()
    r = r[np.isfinite(r)]
    beyond = int((np.abs(r) > SIGMAS).sum())

    def draw(axes: Any) -> None:
        edges = np.linspace(-SIGMAS, SIGMAS, 49)
        width = edges[1] - edges[0]
        heights = np.histogram(r, edges)[0] / max(len(r), 1) / width
        axes.bar(edges[:-1], heights, width, align="edge", color=colour(0), alpha=0.75, label="residuals")
        x = np.linspace(-SIGMAS, SIGMAS, 161)
        axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=1.4, label="noise alone")
        axes.set_xlabel("residual of one draw [σ]")
        axes.set_ylabel("density")

    more = f" ({beyond / len(r):.2%} lie beyond ±{SIGMAS:.0f} σ)" if beyond else ""
    caption = (
        "What a draw leaves unexplained, all entries together, in units of the noise (bars), and pure noise (line); "
        f"good is bars that follow the line{more}."
    )
    return Figure(_group([panel(draw, f"Residuals of {separated.name}", legend=True)]), caption, "Residuals")
