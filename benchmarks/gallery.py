"""Draws the galaxies and the sound of the documentation's front page, separated by closed forms alone:

    python benchmarks/gallery.py ~/datasets docs/_static [galaxies] [sound]

The folder holds the cluster of galaxies and the recordings that `docs/experiments.md` says how to fetch. The other
pictures are made by the tutorials (`benchmarks/tutorial.py`) and by the demo (`docs/demo_picture.py`).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dichroic import FitConfig, Problem, fit, windowed
from dichroic.run.stitching import stitched
from dichroic.studies.experiments.galaxies_psf import galaxies_through_psf
from dichroic.studies.experiments.speech import RATE, speech_over_music

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


def sound(data: Path, out: Path) -> None:
    """Spectrograms of windows of held-out speech in a row: over music, as found, and by itself."""
    problem, held_out = speech_over_music(data, 4096, 4096, 512)
    view = held_out.views["mix"]
    with tempfile.TemporaryDirectory() as folder:
        run = fit(problem, FitConfig(**CLOSED), out=Path(folder) / "run")
        # windows one after the other are a record, which is cut anew
        y, truth = (x[: 3 * RATE // 256].ravel() for x in (view.y, view.truth["speech"]))
        record = windowed(y, dict(view.mixing), 0.01, window=256, hop=128)
        found = stitched(run.separate(Problem(problem.sources, {"mix": record}), draws=4))
    figure = Figure(figsize=(7.5, 2.6), layout="constrained", dpi=130)
    rows = {"observed": y, "speech, dichroic": found.mean("mix", "speech")[0], "true speech": truth}
    for axes, (title, x) in zip(figure.subplots(1, 3, sharey=True), rows.items(), strict=True):
        axes.specgram(x, 128, RATE, noverlap=96, cmap="magma", vmin=-70, vmax=-25)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("time [s]", fontsize=7)
        axes.tick_params(labelsize=6)
    figure.axes[0].set_ylabel("frequency [Hz]", fontsize=7)
    figure.savefig(out / "sound.png")


if __name__ == "__main__":
    data, out = (Path(x).expanduser() for x in sys.argv[1:3])
    for name in sys.argv[3:] or ("galaxies", "sound"):
        {"galaxies": galaxies, "sound": sound}[name](data, out)
