"""Draws the README's pictures: `python docs/demo_picture.py runs/demo docs/_static/demo.png`.

An experiment of `dichroic reproduce`, such as `runs/reproduce/laptop/grassy-full`, does in place of a run.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dichroic.problem import load_problem
from dichroic.run import Run, Separation

ROWS = 5


def main(folder: str, out: str) -> None:
    """One row per held-out mixture."""
    place = Path(folder)
    if (place / "data").is_dir():
        held_out = load_problem(place / "data" / "test").problem
        separated = Separation.open(place / "dichroic" / "separated.zarr")
    else:
        run = Run(place)
        held_out, separated = run.held_out, Separation.open(run.separated)
    view = held_out.views["mix"]
    shown = np.linspace(0, len(view) - 1, ROWS).astype(int)
    columns = [("observation", view.y, "grey")]
    for source in ("grass", "digit"):
        draws = separated.draws("mix", source)
        columns += [
            (f"{source}: mean", separated.mean("mix", source), "grey"),
            ("std", separated.std("mix", source), "magma"),
            ("draw", draws[:, 0], "grey"),
            ("draw", draws[:, 1], "grey"),
        ]
    columns.append(("true digit", view.truth["digit"], "grey"))
    figure = Figure(figsize=(len(columns) * 0.95, ROWS * 0.95 + 0.3), layout="constrained", dpi=150)
    axes = figure.subplots(ROWS, len(columns))
    for j, (title, images, colours) in enumerate(columns):
        # draws, mean and truth of a source share one scale; standard deviations have their own
        limits = (0, 0.35) if title == "std" else (0, 1.2) if title == "observation" else (0, 1)
        axes[0, j].set_title(title, fontsize=8)
        for i, index in enumerate(shown):
            axes[i, j].imshow(np.asarray(images[index])[..., 0], cmap=colours, vmin=limits[0], vmax=limits[1])
            axes[i, j].set_axis_off()
    figure.savefig(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
