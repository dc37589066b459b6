"""Bit error rates along the ratio of signal to interference, and symbols before and after separation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dichroic.problem import as_pairs, load_problem
from dichroic.run import Separation, complete_priors
from dichroic.studies.radio.bits import symbols_of

__all__ = ["draw_rates", "shown_ratios"]

_SHOWN = 1500  # symbols of a constellation
_LINES = ("-", "--", ":")  # for every ten curves


def draw_rates(experiment: Mapping[str, Any], folder: Path, file: Path) -> Path | None:
    """Curves of all methods with their binomial intervals, and the symbols of a matched filter at two ratios: of the
    mixture, and of what is left of it without the interference that the best of the methods finds.

    **Arguments:** `experiment`, as `collect` has it; `folder`, of its data and cells.

    **Returns:** the file, None where there is no error rate to draw.
    """
    from matplotlib.figure import Figure

    targets = experiment["targets"]
    keys = [f"{t['view']}/{t['source']}" for t in targets]
    curves = {
        c["method"]: (c["title"], [c["scores"].get(key, {}).get("ber") for key in keys])
        for c in experiment["cells"]
        if c["status"] == "done"
    }
    curves = {name: curve for name, curve in curves.items() if any(curve[1])}
    if not curves:
        return None
    best = min(curves, key=lambda name: sum(r["estimate"] for r in curves[name][1] if r))
    figure = Figure(figsize=(10.4, 4.9), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1.25, 1)))
    _curves(left.subplots(), curves, [t["at"] for t in targets], experiment["axis"])
    chosen = shown_ratios([t["at"] for t in targets], [r["estimate"] if r else 0.0 for r in curves[best][1]])
    for row, i in zip(right.subplots(len(chosen), 2, squeeze=False), chosen, strict=True):
        sent, *found = _constellations(folder, best, targets[i])
        reach = 1.05 * float(np.quantile(np.abs(found[0]), 0.98))
        for axis, z, what in zip(row, found, ("as received", "interference taken off"), strict=True):
            _symbols(axis, z, sent, reach)
            axis.set_title(f"{targets[i]['at']:g} dB, {what}", fontsize=7)
    right.suptitle(f"symbols, interference by {curves[best][0]}", fontsize=8)
    figure.savefig(file, dpi=130)
    return file


def shown_ratios(at: list[float], rates: list[float]) -> list[int]:
    """Which ratios have their symbols shown: the lowest, and of the others the one with the most wrong bits."""
    lowest, *others = sorted(range(len(at)), key=lambda i: at[i])
    return [lowest, *([max(others, key=lambda i: rates[i])] if others else [])]


def _curves(axis: Any, curves: Mapping[str, Any], at: list[float], label: str) -> None:
    rates = [r for _, curve in curves.values() for r in curve if r]
    floor = 10 ** np.floor(np.log10(min(r["high"] for r in rates) / 2))
    shift = 0.12 * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    for number, (title, curve) in enumerate(curves.values()):
        known = [(x + shift[number], r) for x, r in zip(at, curve, strict=True) if r]
        x, y = [x for x, _ in known], np.array([r["estimate"] for _, r in known])
        low, high = (np.array([r[end] for _, r in known]) for end in ("low", "high"))
        shown, none, colour = np.maximum(y, floor), y == 0, f"C{number % 10}"
        error = [shown - np.maximum(low, floor), high - shown]
        axis.errorbar(x, shown, yerr=error, color=colour, ls=_LINES[number // 10], lw=1.2, capsize=2, label=title)
        axis.plot(np.array(x)[~none], y[~none], "o", ms=4, color=colour)
        axis.plot(np.array(x)[none], shown[none], "v", ms=5, color=colour, mfc="white")
    axis.set_yscale("log")
    axis.set_ylim(floor / 1.5, 0.9)
    axis.set_xlabel(label)
    axis.set_ylabel("bit error rate (open triangle: no wrong bit)")
    axis.grid(color="0.92")
    axis.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)


def _constellations(
    folder: Path, method: str, target: Mapping[str, Any]
) -> tuple[Bool[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Signs of the symbols that were sent, and symbols of the signal: in the mixture, and in what is left without the
    other sources.
    """
    loaded = load_problem(folder / "data" / "test")
    view, s = loaded.problem.views[target["view"]], target["source"]
    prior = complete_priors(loaded.frozen, loaded.problem)[s]
    found = Separation.open(folder / method / "separated.zarr")
    rest = sum(found.seen(target["view"], other) for other in view.mixing if other != s)
    sent, *shown = (
        symbols_of(prior, as_pairs(x)).reshape(-1, 2)[:_SHOWN]  # pyright: ignore
        for x in (view.truth[s], view.y, view.y - rest)
    )
    return sent > 0, shown[0], shown[1]


def _symbols(axis: Any, z: Float[np.ndarray, "n 2"], sent: Bool[np.ndarray, "n 2"], reach: float) -> None:
    """Symbols in the colour of the one that was sent."""
    for number, signs in enumerate(((True, True), (False, True), (False, False), (True, False))):
        some = z[(sent == signs).all(1)]
        axis.plot(*some.T, ".", ms=2, color=f"C{number}", rasterized=True)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.axhline(0, color="0.8", lw=0.6, zorder=0)
    axis.axvline(0, color="0.8", lw=0.6, zorder=0)
    axis.tick_params(labelsize=6)
