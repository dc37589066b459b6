"""Bit error rates along the ratio of signal to interference, and symbols before and after separation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.problem import load_problem
from dichroic.run import Separation, complete_priors
from dichroic.studies.radio.bits import symbols_of

__all__ = ["draw_rates"]

_SHOWN = 1500  # symbols of a constellation
_COLOURS = {"before": "0.55", "after": "C0"}


def draw_rates(experiment: Mapping[str, Any], folder: Path, file: Path) -> Path | None:
    """Curves of all methods with their binomial intervals, and the symbols of a matched filter: of the mixture, and of
    what is left of it without the interference that the best of the methods finds.

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
    hardest = max(range(len(keys)), key=lambda i: sum(c[i]["estimate"] for _, c in curves.values() if c[i]))
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1.55, 1)))
    _curves(left.subplots(), curves, [t["at"] for t in targets], experiment["axis"])
    panels = right.subplots(2, 1)
    chosen = sorted({hardest, 0})[:2] if hardest else [0]
    for axis, i in zip(panels, (chosen * 2)[:2] if len(chosen) == 1 else chosen, strict=True):
        found = _constellations(folder, best, targets[i])
        _symbols(axis, found, f"{targets[i]['at']:g} dB, grey: as received, blue: {curves[best][0]}")
    figure.savefig(file, dpi=130)
    return file


def _curves(axis: Any, curves: Mapping[str, Any], at: list[float], label: str) -> None:
    rates = [r for _, curve in curves.values() for r in curve if r]
    floor = 10 ** np.floor(np.log10(min(r["high"] for r in rates) / 2))
    shift = 0.12 * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    for number, (title, curve) in enumerate(curves.values()):
        known = [(x + shift[number], r) for x, r in zip(at, curve, strict=True) if r]
        x, y = [x for x, _ in known], np.array([r["estimate"] for _, r in known])
        low, high = (np.array([r[end] for _, r in known]) for end in ("low", "high"))
        shown, none = np.maximum(y, floor), y == 0
        error = [shown - np.maximum(low, floor), high - shown]
        axis.errorbar(x, shown, yerr=error, color=f"C{number}", lw=1.2, capsize=2, label=title)
        axis.plot(np.array(x)[~none], y[~none], "o", ms=4, color=f"C{number}")
        axis.plot(np.array(x)[none], shown[none], "v", ms=5, color=f"C{number}", mfc="white")
    axis.set_yscale("log")
    axis.set_ylim(floor / 1.5, 0.9)
    axis.set_xlabel(label)
    axis.set_ylabel("bit error rate (open triangle: no wrong bit)")
    axis.grid(color="0.92")
    axis.legend(fontsize=7, frameon=False)


def _constellations(folder: Path, method: str, target: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Symbols of the signal in the mixture, and in what is left without the other sources."""
    loaded = load_problem(folder / "data" / "test")
    view, s = loaded.problem.views[target["view"]], target["source"]
    prior = complete_priors(loaded.frozen, loaded.problem)[s]
    found = Separation.open(folder / method / "separated.zarr")
    rest = sum(found.seen(target["view"], other) for other in view.mixing if other != s)
    shown = {"before": view.y, "after": view.y - rest}
    pairs = {name: np.stack([np.real(y), np.imag(y)], -1) for name, y in shown.items()}
    return {name: symbols_of(prior, y).reshape(-1, 2)[:_SHOWN] for name, y in pairs.items()}  # pyright: ignore


def _symbols(axis: Any, found: Mapping[str, np.ndarray], title: str) -> None:
    for name, z in found.items():
        axis.plot(*z.T, ".", ms=2, color=_COLOURS[name], rasterized=True, zorder=1 + (name == "after"))
    reach = np.quantile(np.abs(found["before"]), 0.98)
    axis.set_xlim(-reach, reach)
    axis.set_ylim(-reach, reach)
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=7)
    axis.tick_params(labelsize=6)
