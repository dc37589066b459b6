"""Separation of vectors: curves with bands, and scatter plots where a sample is a few numbers only."""

from typing import Any

import numpy as np

from dichroic.report.material import Material, Separated
from dichroic.report.pictures import SIGMAS, kind, nan_stat
from dichroic.report.residuals import residuals
from dichroic.report.strips import chosen
from dichroic.report.theme import INK, MUTED, Figure, colour, dots, panel

__all__ = ["example_lines", "pairs", "vector_figures"]

_POINTS, _CLOUD, _CURVES, _HIGHLIGHTS = 256, 400, 4, 5


def vector_figures(material: Material, separated: Separated, sources: list[str]) -> list[Figure]:
    """Everything about the vector sources of a view."""
    figures = []
    for s in sources:
        unit = material.unit(s)
        look = kind(material.shapes[s])
        if look == "pairs":
            figures += _scatter(separated, s)
        elif look == "line":
            figures += _bands(material, separated, s)
        agreement = _agreement(separated, s, unit)
        if agreement is not None:
            figures.append(agreement)
        elif look == "scalar":
            figures.append(_scalar(separated, s, unit))
    residual = _residual(separated)
    return [*figures, residual] if residual is not None else figures


def pairs(size: int, most: int = 3) -> list[tuple[int, int]]:
    """Pairs of neighbouring entries, 1 and 2 first."""
    return [(i, i + 1) for i in range(size - 1)][:most]


def example_lines(y: np.ndarray, observed: np.ndarray | None, label: str) -> str:
    """Some observations of a view as curves."""
    y = np.abs(y) if np.iscomplexobj(y) else np.asarray(y, float)
    y = (y if observed is None else np.where(observed, y, np.nan)).reshape(len(y), -1)
    index, at = chosen(len(y), 5), _thin(y.shape[1])

    def draw(axes: Any) -> None:
        for k, i in enumerate(index):
            axes.plot(at + 1, y[i, at], color=colour(k), linewidth=1.1, marker="o" if len(at) <= 16 else None, markersize=3)
        axes.set_xlabel("entry")
        axes.set_ylabel("observed value")
        _whole_ticks(axes, len(at))

    return panel(draw, label, height=190)


def _scatter(separated: Separated, source: str) -> list[Figure]:
    """Posterior draws of a few observations over those of all."""
    cloud = separated.first_draws(source, _CLOUD).reshape(min(_CLOUD, len(separated)), -1)
    index = chosen(len(separated), _HIGHLIGHTS)
    picked = [separated.draws(source, i).reshape(-1, cloud.shape[1]) for i in index]
    truth = None if separated.view is None else separated.view.truth.get(source)
    figures = []
    for a, b in pairs(cloud.shape[1]):

        def draw(axes: Any, a: int = a, b: int = b) -> None:
            dots(axes, cloud[:, a], cloud[:, b], MUTED, 1.6)
            for k, (i, x) in enumerate(zip(index, picked, strict=True)):
                dots(axes, x[:, a], x[:, b], colour(k), 4)
                if truth is not None:
                    t = truth[i].ravel()
                    axes.plot(t[a], t[b], "+", color=INK, markersize=10, markeredgewidth=2.6)
                    axes.plot(t[a], t[b], "+", color=colour(k), markersize=9, markeredgewidth=1.3)
            axes.set_xlabel(f"entry {a + 1}")
            axes.set_ylabel(f"entry {b + 1}")

        good = (
            "good is a truth (cross) within the dots of its colour" if truth is not None else "good is tight groups within the grey cloud"
        )
        caption = (
            f"Posterior draws of {len(index)} observations (one colour each) over one draw of every observation (grey); {good}."
        )
        title = f"“{source}” in “{separated.name}”: entries {a + 1} and {b + 1}"
        figures.append(Figure(panel(draw, title, height=300), caption, title))
    return figures


def _bands(material: Material, separated: Separated, source: str) -> list[Figure]:
    """Mean, band and draws against the entry, one panel per observation."""
    truth = None if separated.view is None else separated.view.truth.get(source)
    unit = material.unit(source)
    figures = []
    for i in chosen(len(separated), _CURVES):
        x = separated.draws(source, i).reshape(separated.diverged.shape[1], -1)
        at = _thin(x.shape[1])
        mean, std = nan_stat("nanmean", x, axis=0)[at], nan_stat("nanstd", x, axis=0)[at]

        def draw(axes: Any, x=x, at=at, mean=mean, std=std, i=i) -> None:
            axes.fill_between(at + 1, mean - 2 * std, mean + 2 * std, color=colour(0), alpha=0.25, linewidth=0, label="mean ± 2 σ")
            axes.plot(at + 1, mean, color=colour(0), label="_")
            for k in range(min(2, len(x))):
                axes.plot(at + 1, x[k, at], color=MUTED, linewidth=0.7, label="draws" if k == 0 else "_")
            if truth is not None:
                axes.plot(at + 1, truth[i].ravel()[at], color=colour(1), linewidth=1.2, linestyle="--", label="truth")
            axes.set_xlabel("entry")
            axes.set_ylabel(f"{source}{f' [{unit}]' if unit else ''}")

        good = "good is a truth inside the band nearly everywhere" if truth is not None else "good is draws that look like real signals"
        caption = f"Posterior mean, two standard deviations to either side, and two draws; {good}."
        title = f"“{source}” in “{separated.name}”, observation {i}"
        figures.append(Figure(panel(draw, title, legend=True), caption, title))
    return figures


def _agreement(separated: Separated, source: str, unit: str) -> Figure | None:
    """A draw against the truth, entry by entry."""
    view = separated.view
    if view is None or source not in view.truth:
        return None
    x = separated.first_draws(source, _CLOUD)
    t = np.asarray(view.truth[source][: len(x)], float)
    pick = np.random.default_rng(0).permutation(x.size)[:1500]
    x, t = x.ravel()[pick], t.ravel()[pick]

    def draw(axes: Any) -> None:
        dots(axes, t, x, colour(0), 2.2)
        finite = np.concatenate([t, x])[np.isfinite(np.concatenate([t, x]))]
        if finite.size:
            ends = [finite.min(), finite.max()]
            axes.plot(ends, ends, color=INK, linewidth=0.9)
        axes.set_xlabel(f"truth{f' [{unit}]' if unit else ''}")
        axes.set_ylabel("one posterior draw")

    title = f"“{source}” in “{separated.name}”: draw against truth"
    caption = (
        "Single entries of one posterior draw against their true values; good is a cloud along the line, as wide as the data leave "
        "the source uncertain."
    )
    return Figure(panel(draw, title, height=300), caption, title)


def _scalar(separated: Separated, source: str, unit: str) -> Figure:
    index = np.arange(min(40, len(separated)))
    x = np.stack([separated.draws(source, i).ravel() for i in index])

    def draw(axes: Any) -> None:
        mean, std = nan_stat("nanmean", x, axis=1), nan_stat("nanstd", x, axis=1)
        axes.errorbar(index, mean, std, fmt="o", color=colour(0), markersize=3, linewidth=1)
        axes.set_xlabel("observation")
        axes.set_ylabel(f"{source}{f' [{unit}]' if unit else ''}")

    title = f"“{source}” in “{separated.name}”"
    return Figure(panel(draw, title), "Posterior mean and standard deviation of some observations.", title)


def _residual(separated: Separated) -> Figure | None:
    """Residuals of one draw, all entries together, against the normal distribution."""
    view = separated.view
    if view is None:
        return None
    index = np.arange(min(_CLOUD, len(separated)))
    r = residuals(view, {s: separated.first_draws(s, len(index)) for s in separated.samples}, index)
    if view.observed is not None:
        r = r[view.observed[index]]
    r = np.concatenate([r.real.ravel(), r.imag.ravel()]) if np.iscomplexobj(r) else r.ravel()
    r = r[np.isfinite(r)]
    beyond = int((np.abs(r) > SIGMAS).sum())

    def draw(axes: Any) -> None:
        edges = np.linspace(-SIGMAS, SIGMAS, 49)
        width = edges[1] - edges[0]
        axes.bar(edges[:-1], np.histogram(r, edges)[0] / max(len(r), 1) / width, width, align="edge", color=colour(0), alpha=0.75)
        x = np.linspace(-SIGMAS, SIGMAS, 161)
        axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=1.4)
        axes.set_xlabel("residual of one draw [σ]")
        axes.set_ylabel("density")

    title = f"Residuals of “{separated.name}”"
    more = f" ({beyond / len(r):.2%} lie beyond ±{SIGMAS:.0f} σ)" if beyond else ""
    caption = f"What a draw leaves unexplained, in units of the noise (bars), and pure noise (line); good is bars that follow the line{more}."
    return Figure(panel(draw, title), caption, title)


def _thin(size: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, _POINTS)).round().astype(int))


def _whole_ticks(axes: Any, size: int) -> None:
    if size <= 12:
        axes.set_xticks(np.arange(1, size + 1))
