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
    """Spectrograms of three seconds of held-out speech: over music, as found, and by itself."""
    problem, _ = speech_over_music(data, 4096, 4096, 8)
    _, records = speech_over_music(data, 64, 64, 1, window=3 * RATE)  # of the same recordings, none of which is learned
    view = records.views["mix"]
    with tempfile.TemporaryDirectory() as folder:
        run = fit(problem, FitConfig(**CLOSED), out=Path(folder) / "run")
        record = windowed(view.y[0], {"music": 1.0, "speech": 1.0}, 0.01, window=256, hop=128)
        found = stitched(run.separate(Problem(problem.sources, {"mix": record}), draws=4)).mean("mix", "speech")[0]
    truth = view.truth["speech"][0]
    for name, x in (("observed", view.y[0]), ("found", found)):
        print(f"{name}: {10 * np.log10(np.mean(truth**2) / np.mean((x - truth) ** 2)):.1f} dB")
    figure = Figure(figsize=(7.5, 2.6), layout="constrained", dpi=100)
    rows = {"observed": view.y[0], "speech, dichroic": found, "true speech": truth}
    for axes, (title, x) in zip(figure.subplots(1, 3, sharey=True), rows.items(), strict=True):
        axes.specgram(x, NFFT=256, Fs=RATE, noverlap=192, cmap="magma", vmin=-60, vmax=-20)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("time [s]", fontsize=7)
        axes.tick_params(labelsize=6)
    figure.axes[0].set_ylabel("frequency [Hz]", fontsize=7)
    figure.savefig(out / "sound.png")


if __name__ == "__main__":
    data, out = (Path(x).expanduser() for x in sys.argv[1:3])
    for name in sys.argv[3:] or ("galaxies", "sound"):
        {"galaxies": galaxies, "sound": sound}[name](data, out)
