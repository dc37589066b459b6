"""Separation of vectors: curves with bands, and scatter plots where a sample is a few numbers only."""

from html import escape
from typing import Any

import numpy as np

from dichroic.formats import Axis
from dichroic.report.describe import number
from dichroic.report.material import Material, Separated
from dichroic.report.pictures import kind, nan_stat
from dichroic.report.series import series_figures
from dichroic.report.strips import chosen
from dichroic.report.theme import INK, MUTED, Figure, colour, dots, panel

__all__ = ["along_axis", "example_lines", "pairs", "thin", "vector_figures"]

_CLOUD, _CURVES, _HIGHLIGHTS, _SCALARS = 400, 6, 3, 40
_LARGEST = 10  # entries with names
_BESIDE = 2  # simple answers beside a curve


def vector_figures(material: Material, separated: Separated, sources: list[str]) -> list[Figure]:
    """Everything about the vector sources of a view."""
    figures = []
    for s in sources:
        make = {"pairs": _scatter, "line": _bands, "scalar": _scalar}[kind(material.shapes[s])]
        figures.append(make(separated, s, material.unit(s)))
    if (names := largest_entries(separated, sources)) is not None:
        figures.append(names)
    return [*figures, *series_figures(separated, sources)]


def pairs(size: int, most: int = 3) -> list[tuple[int, int]]:
    """Pairs of neighbouring entries, 1 and 2 first."""
    return [(i, i + 1) for i in range(size - 1)][:most]


def thin(size: int, most: int = 256) -> np.ndarray:
    """Entries of a long vector that are enough for a curve."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int))


def example_lines(
    y: np.ndarray, observed: np.ndarray | None, label: str, along: Axis | None = None, unit: str = ""
) -> str:
    """Some observations of a view as curves; all of them as a histogram where each is a single value."""
    y = np.abs(y) if np.iscomplexobj(y) else np.asarray(y, float)
    y = (y if observed is None else np.where(observed, y, np.nan)).reshape(len(y), -1)
    index, at = chosen(len(y), 5), thin(y.shape[1])
    places, name = along_axis(along or Axis(), y.shape[1])

    def draw(axes: Any) -> None:
        if y.shape[1] == 1:
            axes.hist(y[np.isfinite(y)], 30, color=colour(0), alpha=0.75)
            axes.set_xlabel(_axis("observed value", unit))
            axes.set_ylabel("observations")
            return
        for k, i in enumerate(index):
            marker = "o" if len(at) <= 16 else None
            axes.plot(places[at], y[i, at], color=colour(k), linewidth=1.1, marker=marker, markersize=3)
        axes.set_xlabel(name)
        axes.set_ylabel(_axis("observed value", unit))
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
    beside = dict([(title, x) for title, x in separated.beside.items() if source in x][:_BESIDE])
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
        others = [x[source][int(i)].ravel()[at] for x in beside.values() if not np.iscomplexobj(x[source])]

        def draw(axes: Any, x=x, at=places[at], mean=mean, std=std, t=t, along=along, others=others) -> None:
            axes.fill_between(
                at, mean - 2 * std, mean + 2 * std, color=colour(0), alpha=0.25, linewidth=0, label="± 2 σ"
            )
            axes.plot(at, mean, color=colour(0), label="mean")
            for k in range(min(2, len(x))):
                axes.plot(at, x[k], color=MUTED, linewidth=0.7, label="draws" if k == 0 else "_")
            if t is not None:
                axes.plot(at, t, color=colour(1), linewidth=1.2, linestyle="--", label="truth")
            for k, b in enumerate(others):
                axes.plot(at, b, color=colour(2 + k), linewidth=0.9, linestyle=":")
            axes.set_xlabel(along)
            axes.set_ylabel(_axis(source, unit))

        drawn = panel(draw, f"{source} in {separated.name}, observation {separated.labels.name(int(i))}", legend=True)
        panels.append(f"<div><h4>{name}</h4>{drawn}</div>")
    if truth is not None:
        panels.append(f"<div><h4>Draws against the truth</h4>{_agreement(separated, source, truth, unit)}</div>")
    good = "a truth inside the band nearly everywhere" if truth is not None else "draws that look like real signals"
    caption = (
        f"Posterior mean, two standard deviations to either side, and two draws of some observations; good is {good}."
    )
    if beside:
        caption += f" Dotted: {' and '.join(beside)}, which one would have without this fit."
    return Figure(_group(panels), caption, f"Source “{source}”")


def _top(axis: Axis, mean: np.ndarray, most: int = 4) -> list[tuple[float, float, str]]:
    """Names of the entries with the largest means, where entries have names: genes, say."""
    names = axis.coordinates(len(mean))
    if names is None or names.dtype.kind in "iuf":
        return []
    order = np.argsort(-np.where(np.isfinite(mean), np.abs(mean), -1))[:most]
    return [(float(i + 1), float(mean[i]), str(names[i])) for i in order if np.isfinite(mean[i])]


def largest_entries(separated: Separated, sources: list[str]) -> Figure | None:
    """The entries with the largest means over all observations, by name; None where entries have none."""
    columns = {}
    for s in (s for s in sources if kind(separated.first_draws(s, 1).shape[1:]) == "line"):
        mean = nan_stat("nanmean", np.stack([separated.mean(s, i).ravel() for i in range(len(separated))]), axis=0)
        if top := _top(separated.labels.axis(0), mean, _LARGEST):
            columns[s] = top
    if not columns:
        return None
    what = escape(separated.labels.axis(0).name or "entry")
    head = "".join(f'<th>{what} of {escape(s)}</th><th class="num">mean</th>' for s in columns)
    rows = "".join(
        "<tr>" + "".join(f'<td>{escape(name)}</td><td class="num">{number(x)}</td>' for _, x, name in row) + "</tr>"
        for row in zip(*columns.values(), strict=False)  # as long as the shortest
    )
    body = (
        f'<div class="scroll"><table class="narrow"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    caption = (
        "The largest entries of every source by the mean over all observations; good is a list that you know from the "
        "source, and that differs between sources."
    )
    return Figure(body, caption, "Largest entries")


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
