"""Draws the galaxies of the documentation's front page, separated by closed forms alone:

    python benchmarks/gallery.py ~/datasets docs/_static

The folder holds the cluster of galaxies that `docs/experiments.md` says how to fetch. The other pictures are made by
the tutorials (`benchmarks/tutorial.py`) and by the demo (`docs/demo_picture.py`).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dichroic import FitConfig, fit
from dichroic.studies.experiments.galaxies_psf import galaxies_through_psf

CLOSED = {"laps": 0, "components": {"components": 1}}


def galaxies(data: Path, out: Path) -> None:
    """Held-out stamps: observed, the galaxy as the telescope shows it, deconvolved, its deviation, the truth."""
    problem, held_out = galaxies_through_psf(next(data.glob("petrofit-*.tar.gz"), data))
    with tempfile.TemporaryDirectory() as folder:
        found = fit(problem, FitConfig(**CLOSED), out=Path(folder) / "run").separate(held_out, draws=8)
    view = held_out.views["target"]
    y = np.where(view.observed if view.observed is not None else True, view.y, np.nan)
    seen, mean, std = (f("target", "galaxy") for f in (found.seen, found.mean, found.std))
    truth = view.truth["galaxy"]
    rows = np.argsort(-truth.sum((1, 2, 3)))[4:44:10]
    columns = [
        ("observed", y),
        ("galaxy, as seen", seen),
        ("deconvolved", mean),
        ("st. dev.", std),
        ("true galaxy", truth),
    ]
    figure = Figure(figsize=(6, 4.9), layout="constrained", dpi=130)
    axes = figure.subplots(len(rows), len(columns))
    for j, (title, images) in enumerate(columns):
        axes[0, j].set_title(title, fontsize=8)
        for i, row in enumerate(rows):
            top = 0.5 * np.nanmax(truth[row])
            limits = {"vmin": 0, "vmax": np.max(images[row]) if title == "st. dev." else top}
            colours = "magma" if title == "st. dev." else "gray"
            axes[i, j].imshow(images[row, ..., 0], colours, origin="lower", **limits)
            axes[i, j].set_axis_off()
            axes[i, j].set_facecolor("0.5")
    figure.savefig(out / "galaxies.png")


if __name__ == "__main__":
    galaxies(*(Path(x).expanduser() for x in sys.argv[1:]))
