"""One figure of the results: PSNR of every method on every experiment, with the published values."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

__all__ = ["draw_results"]

_TITLE = 44  # characters on a line


def draw_results(found: Mapping[str, Any], file: Path) -> Path | None:
    """Draws one panel per experiment: PSNR of single draws (dots) and of posterior means (rings), with intervals.

    **Returns:** the file, None when there is nothing to draw.
    """
    from matplotlib.figure import Figure

    panels = [e for e in found["experiments"] if any(_numbers(e, c) for c in e["cells"])]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 0.6 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, experiment in zip(axes, panels, strict=False):
        cells = [c for c in experiment["cells"] if _numbers(experiment, c)]
        for place, cell in enumerate(reversed(cells)):
            for key, marker, face in (("psnr_mean", "o", "white"), ("psnr", "o", "C0")):
                value = _numbers(experiment, cell).get(key)
                if value is not None:
                    error = [[value["estimate"] - value["low"]], [value["high"] - value["estimate"]]]
                    axis.errorbar(
                        value["estimate"], place, xerr=error, fmt=marker, color="C0", mfc=face, ms=5, capsize=2
                    )
        for row in experiment["published"]:
            if "psnr" in row["numbers"]:
                axis.axvline(row["numbers"]["psnr"], color="C3", ls="--", lw=1, label=f"{row['method']}, published")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6, frameon=False)
        axis.set_yticks(range(len(cells)), [c["title"] for c in reversed(cells)], fontsize=7)
        axis.set_ylim(-0.6, len(cells) - 0.4)
        axis.set_title(fill(experiment["title"], _TITLE), fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
    figure.supxlabel("PSNR of held-out sources (dB); dots: single draws, rings: posterior means", fontsize=8)
    figure.savefig(file, dpi=130)
    return file


def _numbers(experiment: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    if cell["status"] != "done" or not experiment["targets"]:
        return {}
    target = experiment["targets"][0]
    numbers = cell["scores"].get(f"{target['view']}/{target['source']}", {})
    return {
        key: numbers[key] for key in ("psnr", "psnr_mean") if key in numbers and numbers[key]["estimate"] is not None
    }
