"""What the checks of `dichroic diagnose` found: the verdict, the panel, and a picture of every check."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from dichroic.diagnose import CHECKS, CODES, Result, default_checks, judge
from dichroic.diagnose.codes import code_of
from dichroic.report.describe import number
from dichroic.report.theme import INK, MUTED, Figure, colour, dots, panel
from dichroic.report.trust_maps import contraction_figures, residual_figures
from dichroic.report.verdict import CHECK_NAMES

__all__ = ["diagnosis_section"]

_MOST = 12  # curves with a name


def diagnosis_section(
    results: Mapping[str, Result], part: Callable[[str, Callable[[], Any]], Any]
) -> dict[str, Any] | None:
    """What the page shows of a diagnosis below the verdict, None where none was made.

    **Arguments:** `results`, of the checks; `part(what, make)`, makes a part of the page or notes why it cannot.
    """
    if not results:
        return None
    figures: list[Figure] = []
    makers = {
        "fission": _coverage,
        "sbc": _simulated,
        "tarp": _simulated,
        "replay": _replay,
        "gap": _gap,
        "leakage": _leakage,
        "chi_square": residual_figures,
        "maps": contraction_figures,
    }
    for name, make in makers.items():
        if name in results:
            figures += (
                part(f"the picture of the check “{name}”", partial(lambda m, r: list(m(r)), make, results[name])) or []
            )
    return {
        "limits": judge(results).limits,
        "rows": [_row(name, result) for name, result in results.items()],
        "missing": [CHECK_NAMES[name] for name in default_checks() if name not in results],
        "figures": figures,
    }


def _row(name: str, result: Result) -> dict[str, Any]:
    told = {code_of(name, p): p for p in reversed(result.alarms)}
    said = [
        f"{CODES[code]} ({part.where}: {part.what} {number(part.value)}, expected {number(part.expected)}) [{code}]"
        for code, part in sorted(told.items())
    ]
    return {
        "name": CHECK_NAMES[name],
        "question": CHECKS[name].question,
        "level": result.level if CHECKS[name].judges else "–",
        "p": number(result.p, 2) if CHECKS[name].judges else "–",
        "n": f"{result.observations} × {result.draws}",
        "said": said + [f"{note.where}: {note.text} [{note.code}]" for note in result.notes],
    }


def _stems(result: Result, ending: str) -> list[str]:
    return [name[: -len(ending)] for name in result.arrays if name.endswith(ending)]


def _coverage(result: Result) -> Iterator[Figure]:
    """Calibration on real data."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for i, view in enumerate(_stems(result, "/coverage")):
            x, y, error = (result.arrays[f"{view}/{name}"] for name in ("nominal", "coverage", "coverage_error"))
            axes.fill_between(x, y - 3 * error, y + 3 * error, color=colour(i), alpha=0.2, linewidth=0)
            axes.plot(x, y, color=colour(i), label=view)
        axes.set_xlabel("stated probability of the interval")
        axes.set_ylabel("share of values inside")

    caption = (
        "Real data were split in two; one half was separated, and the other half predicted from it with intervals "
        "of every probability. Good is a curve on the diagonal: below it, predictions are too certain, above it too "
        "cautious. The band is three standard errors."
    )
    yield Figure(panel(draw, "Coverage of predictions", legend=True), caption, "Calibration on real data")


def _simulated(result: Result) -> Iterator[Figure]:
    """Distribution functions of ranks, less the diagonal."""
    x, quantities, n = result.arrays["nominal"], _stems(result, "/ecdf"), max(result.observations, 1)
    alarmed = {part.where for part in result.alarms}
    order = sorted(quantities, key=lambda q: q not in alarmed)

    def draw(axes: Any) -> None:
        band = 2.58 * np.sqrt(x * (1 - x) / n)
        axes.fill_between(x, -band, band, color=MUTED, alpha=0.2, linewidth=0)
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        named = 0
        for q in order:
            mark = q in alarmed and named < 5
            hue = colour(named) if mark or len(order) == 1 else MUTED
            line = {"label": q, "linewidth": 1.8} if mark else {"linewidth": 0.8}
            axes.plot(x, result.arrays[f"{q}/ecdf"] - x, color=hue, **line)
            named += mark
        axes.set_xlabel("rank of the truth among its draws")
        axes.set_ylabel("too many below, share")

    if result.check == "tarp":
        title, what = "Calibration of all sources together", "the distance of the truth to a random reference point"
    else:
        title, what = "Calibration on simulated truths", "sums, powers and components of the sources, and the residual"
    caption = (
        "Truths were drawn from the learned sources, observed by your own operators with noise, and separated. "
        f"Shown is how {what} ranks among the draws, less what is expected; good is to stay near zero, within the "
        "band for 99 % of the time. A rise and a fall (S lying down) means draws that are too narrow or too wide. "
        "Names are given where a check is not green."
    )
    yield Figure(panel(draw, title, legend=True), caption, title)


def _replay(result: Result) -> Iterator[Figure]:
    for i, view in enumerate(_stems(result, "/norm")):
        data, replayed = result.arrays[f"{view}/norm"], result.arrays[f"{view}/replayed"]

        def draw(axes: Any, data: np.ndarray = data, view: str = view, i: int = i) -> None:
            counts = result.arrays[f"{view}/ranks"]
            n = max(counts.sum(), 1)
            edges = np.linspace(0, 1, len(counts) + 1)
            axes.bar(
                edges[:-1], counts / n * len(counts), edges[1], align="edge", color=colour(i), alpha=0.75, linewidth=0
            )
            error = 2.58 * np.sqrt(len(counts) / n)
            axes.fill_between([0, 1], 1 - error, 1 + error, color=MUTED, alpha=0.25, linewidth=0)
            axes.axhline(1, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlabel("rank of real data among replays")
            axes.set_ylabel("density")

        ratio = number(float(data.mean() / max(replayed.mean(), 1e-30))) if len(data) else "–"
        caption = (
            "Each held-out observation, ranked by its size among observations that the learned sources make through "
            f"the same operator and noise. Good is flat, within the band; real data have {ratio} times the size of "
            "replays. High on the right: the data vary more than the model can make; high on the left: less."
        )
        yield Figure(panel(draw, f"Replay of view {view}"), caption, f"Replay, view “{view}”")


def _gap(result: Result) -> Iterator[Figure]:
    for source in _stems(result, "/posterior"):
        prior, posterior = (result.arrays[f"{source}/{name}"] for name in ("prior", "posterior"))

        def draw(axes: Any, prior: np.ndarray = prior, posterior: np.ndarray = posterior) -> None:
            if prior.shape[1] < 2:
                edges = np.linspace(-4, 4, 41)
                for i, (x, name) in enumerate(((prior, "prior"), (posterior, "posteriors"))):
                    axes.hist(x[:, 0], edges, density=True, histtype="step", color=colour(i), label=name)
                axes.set_xlabel("value in prior standard deviations")
                return
            dots(axes, prior[:, 0], prior[:, 1], colour(0), 2.0, "prior")
            dots(axes, posterior[:, 0], posterior[:, 1], colour(1), 2.0, "posteriors")
            axes.set_xlabel("first component")
            axes.set_ylabel("second component")

        caption = (
            "Draws from the learned source, and one separated sample of each held-out observation, along the "
            "directions in which the source varies most, in units of its spread. Good is that the two clouds are "
            "one."
        )
        yield Figure(panel(draw, f"Prior and posteriors of {source}", legend=True), caption, f"Source “{source}”: gap")


def _leakage(result: Result) -> Iterator[Figure]:
    names = [part.where for part in result.parts if part.what in ("recovered", "leaked")]
    parts = [part for part in result.parts if part.what in ("recovered", "leaked")][:_MOST]

    def draw(axes: Any) -> None:
        y = np.arange(len(parts))[::-1]
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.barh(
            y, [p.value for p in parts], color=[colour(0 if p.what == "recovered" else 1) for p in parts], height=0.6
        )
        axes.plot([p.expected for p in parts], y, "|", color=INK, markersize=14, markeredgewidth=2)
        axes.set_yticks(y, names[: len(parts)])
        axes.set_xlabel("share of what was injected")

    caption = (
        "A known sample of one source was put into real observations, and everything separated again: how much came "
        "back in that source (first colour) and how much showed in another (second). The stroke is what a sound "
        "result gives, which is neither 1 nor 0, since what the data do not say comes from what was learned. Good "
        "is bars that end at their stroke."
    )
    height = 60 + 28 * max(len(parts), 1)
    yield Figure(panel(draw, "Injection and recovery", height=height), caption, "Injection and recovery")
