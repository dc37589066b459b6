"""Draws digits over grass as `dichroic reproduce` has separated them, for `docs/benchmarks/grassy.md`:

    python benchmarks/grassy.py runs/reproduce/laptop/grassy-full docs/_static/grassy_full.png

Held-out mixtures; the posterior mean of grass and digit, the deviation of the digit's draws, its error, two draws, the
truth, and what the filter that knows the true covariances has.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dichroic.problem import load_problem
from dichroic.run import Separation


def picture(folder: Path, out: Path, rows: int = 5) -> None:
    """The first mixtures, one a row."""
    test = load_problem(folder / "data" / "test").problem.views["mix"]
    found = Separation.open(folder / "dichroic" / "separated.zarr")
    linear = Separation.open(folder / "oracle-wiener" / "separated.zarr").mean("mix", "digit")
    mean, truth = found.mean("mix", "digit")[:rows], np.asarray(test.truth["digit"])[:rows]
    draws = np.asarray(found.samples["mix"]["digit"][:rows])
    columns = [
        ("observed", np.asarray(test.y)[:rows], 1.0),
        ("grass, mean", found.mean("mix", "grass")[:rows], 1.0),
        ("digit, mean", mean, 1.0),
        ("st. dev.", draws.std(1), 0.5),
        ("error of the mean", np.abs(mean - truth), 0.5),
        ("a draw", draws[:, 0], 1.0),
        ("another", draws[:, 1], 1.0),
        ("true digit", truth, 1.0),
        ("linear filter\nthat knows it", linear[:rows], 1.0),
    ]
    figure = Figure(figsize=(1.15 * len(columns), 1.2 * rows + 0.3), layout="constrained", dpi=120)
    axes = figure.subplots(rows, len(columns))
    for j, (title, images, top) in enumerate(columns):
        axes[0, j].set_title(title, fontsize=8)
        for i in range(rows):
            axes[i, j].imshow(images[i, ..., 0], "magma" if top < 1 else "gray", vmin=0, vmax=top)
            axes[i, j].set_axis_off()
    figure.savefig(out)


if __name__ == "__main__":
    picture(*map(Path, sys.argv[1:]))
