"""One-step generators to look at: samples, the ablations as curves, digits, and distance over evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.studies.one_step.laws import LAWS

__all__ = ["draw_rows"]

_WINDOW = 40  # steps that a curve is averaged over
_ALONG = ("smt", "smt, t-only weight", "smt, alpha 0 and 1", "smt, GAN term")


def draw_rows(found: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Writes `samples.png`, `ablations.png` and `digits.png`, those there is something for; returns the files.

    **Arguments:** `found`, cells with their arrays `samples` and `curve`.
    """
    from matplotlib.figure import Figure

    written = []
    plane = [row for row in found if row["law"] in LAWS]
    if laws := list(dict.fromkeys(row["law"] for row in plane)):
        ways = list(dict.fromkeys(row["method"] for row in plane if row["method"] not in _ALONG[1:]))
        figure = Figure(figsize=(1.9 * (len(ways) + 1), 2 * len(laws)), layout="constrained")
        axes = figure.subplots(len(laws), len(ways) + 1, squeeze=False)
        for line, law in zip(axes, laws, strict=True):
            shown = {row["method"]: row["samples"] for row in plane if row["law"] == law}
            shown["data"] = LAWS[law]().draw(np.random.default_rng(0), 1500)
            for axis, way in zip(line, ["data", *ways], strict=True):
                axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect="equal")
                if way in shown:
                    axis.scatter(*shown[way].T, s=1, linewidths=0, color="0.3" if way == "data" else "C0")
                    axis.set_title(f"{law}, {way}", fontsize=8)
                else:
                    axis.axis("off")
        written.append(_saved(figure, folder / "samples.png"))
    ring = [row for row in plane if row["law"] == "ring" and row["method"] in _ALONG]
    if curves := [row for row in ring if len(row["curve"]) >= 2 * _WINDOW]:
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axis = figure.subplots()
        for row in curves:
            n = len(row["curve"]) // _WINDOW
            means = row["curve"][: n * _WINDOW].reshape(n, _WINDOW).mean(1)
            axis.plot(_WINDOW * (np.arange(n) + 0.5), np.maximum(means, 1e-4), label=row["method"])
        axis.set(yscale="log", xlabel="steps of the generator", ylabel="energy distance to the ring, of a batch")
        axis.legend(fontsize=8)
        written.append(_saved(figure, folder / "ablations.png"))
    if digits := [row for row in found if row["law"] == "digits"]:
        figure = Figure(figsize=(9, 2.2 + 0.9 * len(digits)), layout="constrained")
        axes = figure.subplots(1, 2, width_ratios=[1, 1.2])
        for row in digits:
            at = {int(name[3:]): d for name, d in row["numbers"].items() if name.startswith("at ")}
            axes[0].plot(list(at), list(at.values()), "o-", label=row["method"], markersize=4)
        axes[0].set(xscale="log", yscale="log", xlabel="evaluations of a draw", ylabel="Fréchet distance of features")
        axes[0].legend(fontsize=7)
        lines = [row for row in digits if len(row["samples"]) >= 14]
        if lines:
            x = np.stack([row["samples"][:14] for row in lines]).reshape(len(lines), 14, 8, 8)
            x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)  # told apart by their edges
            axes[1].imshow(x.transpose(0, 2, 1, 3).reshape(10 * len(lines), -1), cmap="gray_r", vmin=-1, vmax=2)
        ticks = [10 * k + 4.5 for k in range(len(lines))]
        axes[1].set(xticks=[], yticks=ticks, yticklabels=[row["method"] for row in lines])
        written.append(_saved(figure, folder / "digits.png"))
    return written


def _saved(figure, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    return file
