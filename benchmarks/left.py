"""Whether the time left that a fit tells is true: short fits of every kind, each told against its own end.

    python benchmarks/left.py [--fits closed laps law] [--out tests/run/timelines]

Prints for every tenth of the time of a fit what was told and what was true. With `--out`, what every fit told of itself
is kept (seconds, share done, seconds left where it knows them, what was done), for `tests/run/test_progress.py`.
"""

import argparse
import json
import tempfile
import time
from math import isfinite
from pathlib import Path

import numpy as np

from dichroic import FitConfig, Problem, Source, View, fit
from dichroic.run.progress import Reckoning
from dichroic.studies.experiments import digits


class Recorder:
    """Keeps what a fit tells."""

    def __init__(self) -> None:
        self.begin, self.told = time.monotonic(), []

    def say(self, line: str) -> None:
        """Printed."""
        print(f"{time.monotonic() - self.begin:7.1f}  {line}", flush=True)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Kept."""
        said = left if left is None or isfinite(left) else "nobody knows"
        self.told.append((round(time.monotonic() - self.begin, 2), round(float(fraction), 5), said, what))

    def close(self) -> None:
        """Nothing to end."""


def closed() -> tuple[Problem, FitConfig]:
    """Counts of many genes, by closed forms alone."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 6, 48))

    def draw(which: int, n: int) -> np.ndarray:
        kind = rng.integers(0, 3, (n, 1))
        return (rng.normal(size=(n, 6)) @ loadings[which]) + 2 * np.cos(kind + which + np.arange(48))

    views = {
        "alone": View(draw(0, 3000) + 0.3 * rng.normal(size=(3000, 48)), {"base": 1.0}, 0.3),
        "both": View(
            draw(0, 3000) + draw(1, 3000) + 0.3 * rng.normal(size=(3000, 48)), {"base": 1.0, "more": 1.0}, 0.3
        ),
    }
    return Problem({"base": Source((48,)), "more": Source((48,))}, views), FitConfig(laps=0)


def laps() -> tuple[Problem, FitConfig]:
    """The demo with fewer observations, laps and steps."""
    problem, _ = digits.grassy_digits(n_grass=1024, repeats=3)
    settings = {**digits.DEMO_FIT, "laps": 5, "components": {"components": 2}}
    settings["training"] = {"steps": 192, "batch": 128}
    return problem, FitConfig.model_validate(settings)


def law() -> tuple[Problem, FitConfig]:
    """Blobs over waves, by the law of the mixtures."""
    rng = np.random.default_rng(0)
    r, c = np.mgrid[:16, :16]

    def waves(n: int) -> np.ndarray:
        phase, slope = rng.uniform(0, 6, (n, 1, 1)), rng.uniform(0.3, 0.9, (n, 1, 1))
        return np.cos(slope * r + phase)[..., None]

    def blobs(n: int) -> np.ndarray:
        place = rng.uniform(4, 12, (2, n, 1, 1))
        return 2 * np.exp(-((r - place[0]) ** 2 + (c - place[1]) ** 2) / 6)[..., None]

    shape, n = (16, 16, 1), 1400
    views = {
        "alone": View(waves(n) + 0.05 * rng.normal(size=(n, *shape)), {"waves": 1.0}, 0.05),
        "both": View(waves(n) + blobs(n) + 0.05 * rng.normal(size=(n, *shape)), {"waves": 1.0, "blobs": 1.0}, 0.05),
    }
    short = {"rounds": 2, "start_steps": 250, "steps": 300, "pairs": 2048, "moves": 150, "channels": (16, 32)}
    return Problem({"waves": Source(shape), "blobs": Source(shape)}, views), FitConfig.model_validate(
        {"mixtures": short}
    )


FITS = {"closed": closed, "laps": laps, "law": law}


def table(told: list[tuple[float, float, float | str | None, str]]) -> list[str]:
    """Every tenth of the time: the share that was told, seconds left as told and as they were."""
    reckoning, end, lines, at = Reckoning(), told[-1][0], [], 0
    for tenth in np.linspace(0.1, 0.9, 9) * end:
        while at < len(told) and told[at][0] <= tenth:
            now, share, left, _ = told[at]
            reckoning.tell(now, share, float("inf") if left == "nobody knows" else left)
            at += 1
        found, true = reckoning.left(tenth), end - tenth
        shown = "-" if found is None else f"{found:6.1f} s, {found / true:4.2f} of"
        lines.append(f"{tenth / end:4.0%} {share:4.0%} told {shown} {true:6.1f} s: {told[at - 1][3]}")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    for name in asked.fits:
        problem, config = FITS[name]()
        recorder = Recorder()
        with tempfile.TemporaryDirectory() as folder:
            fit(problem, config, out=Path(folder) / "run", progress=recorder)
        print(f"{name}: {recorder.told[-1][0]:.0f} s", *table(recorder.told), sep="\n  ", flush=True)
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            (asked.out / f"{name}.json").write_text(json.dumps(recorder.told, separators=(",", ":")) + "\n")
