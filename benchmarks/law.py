"""Which wrong priors does the law of the mixtures see? Ten of them and the true ones, on two small problems.

    python benchmarks/law.py [--problems manifolds digits] [--repeats 20] [--observations 1024] [--minutes 60]

Manifolds: two random ones in five dimensions, three numbers observed through a matrix of each observation, one view of
the first and one of both. Digits: zeros and ones of 8 x 8 pixels over grass, one view of grass and one of both. Every
repetition makes its own held-out observations, of the true sources, and asks the check `law` at its default budget
about priors that are wrong in the second source (in both, where they are exchanged). Digits are drawn from one set of
360 on either side, so that the control is true.

Prints how often the check is not green, how often it is red, and the mean area under the curve of the view of both. A
repetition is kept when it is made: the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

from dichroic.diagnose import run_panel
from dichroic.diagnose.white import generator
from dichroic.problem import Problem, Source, View
from dichroic.studies.experiments import manifolds
from dichroic.studies.experiments.digits import _digits
from dichroic.studies.experiments.grass import crop, grass_bands
from dichroic.studies.experiments.manifolds import _view

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """A problem: its true sources, the second of several kinds, and how held-out observations are made of them.

    `blurred`, what is smooth about a draw made smoother; `kinds`, draws of the second source with weights of its kinds.
    """

    names: tuple[str, str]
    shape: tuple[int, ...]
    first: Draw
    kinds: Callable[[np.random.Generator, int, float], np.ndarray]
    blurred: Draw
    observe: Callable[[np.random.Generator, int], Problem]

    def second(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """The true second source: both kinds alike."""
        return self.kinds(rng, n, 0.5)


def on_manifolds() -> Setting:
    """Kinds are the halves of the second curve."""
    known = manifolds(2)
    curve = known["source2"]

    def places(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
        return (rng.random(n) + (rng.random(n) >= share)) / 2

    def observe(rng: np.random.Generator, n: int) -> Problem:
        views = {
            f"view{v + 1}": _view(rng, known, dict.fromkeys(list(known)[: v + 1], 1.0), n, 3, 0.01, True)
            for v in range(2)
        }
        return Problem({s: Source((5,)) for s in known}, views)

    def blurred(rng: np.random.Generator, n: int) -> np.ndarray:
        z = places(rng, n, 0.5)
        return np.mean([curve(z + d) for d in (-0.04, 0, 0.04)], axis=0)

    return Setting(
        ("source1", "source2"),
        (5,),
        known["source1"].sample,
        lambda rng, n, share: curve(places(rng, n, share)),
        blurred,
        observe,
    )


def on_digits() -> Setting:
    """Kinds are zeros and ones."""
    zeros, ones = _digits([0]), _digits([1])
    field_ = grass_bands(8, (1.0,), bands=(1.0,))[0]

    def grass(rng: np.random.Generator, n: int) -> np.ndarray:
        return (crop(rng, field_, n, 8) / np.float32(255))[..., None]

    def digits(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
        first = rng.random(n) < share
        one, other = zeros[rng.integers(len(zeros), size=n)], ones[rng.integers(len(ones), size=n)]
        return np.where(first[:, None, None, None], one, other)

    def observe(rng: np.random.Generator, n: int) -> Problem:
        clean = {"grass": grass(rng, n), "mix": grass(rng, n) + 0.5 * digits(rng, n, 0.5)}
        y = {v: (x + 0.01 * rng.standard_normal(x.shape)).astype(np.float32) for v, x in clean.items()}
        views = {"grass": View(y["grass"], {"grass": 1.0}, 0.01)}
        views["mix"] = View(y["mix"], {"grass": 1.0, "digit": 0.5}, 0.01)
        return Problem({s: Source((8, 8, 1)) for s in ("grass", "digit")}, views)

    def blurred(rng: np.random.Generator, n: int) -> np.ndarray:
        return gaussian_filter(digits(rng, n, 0.5), 0.7, axes=(1, 2))

    return Setting(("grass", "digit"), (8, 8, 1), grass, digits, blurred, observe)


@dataclass(frozen=True)
class Believed:
    """Priors that can be drawn from and nothing else."""

    draws: dict[str, Draw]
    shapes: dict[str, tuple[int, ...]]
    memory: dict = field(default_factory=dict)

    def sample(self, source, n, key):
        return self.draws[source](generator(key), n)

    def given(self, name, view):
        raise NotImplementedError


def wrong(setting: Setting, fault: str) -> dict[str, Draw]:
    """The priors of both sources, wrong in one respect."""
    first, second = setting.first, setting.second
    pool = second(np.random.default_rng(1), 20_000).reshape(20_000, -1)
    mean, std, C = pool.mean(0).reshape(setting.shape), pool.std(0).reshape(setting.shape), np.cov(pool.T)
    size = float(np.sqrt((pool.var(0)).mean()))

    def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
        values, V = np.linalg.eigh(C)
        z = rng.standard_normal((n, len(C))) * np.sqrt(np.maximum(values, 0))
        return mean + (z @ V.T).reshape(n, *setting.shape)

    changed: dict[str, Draw] = {
        "none": second,
        "a Gaussian of the same moments": gaussian,
        "narrow by 0.8": lambda rng, n: mean + 0.8 * (second(rng, n) - mean),
        "wide by 1.25": lambda rng, n: mean + 1.25 * (second(rng, n) - mean),
        "mean off by 0.3": lambda rng, n: second(rng, n) + 0.3 * std,
        "a kind missing": lambda rng, n: setting.kinds(rng, n, 1.0),
        "weights of kinds off by two": lambda rng, n: setting.kinds(rng, n, 2 / 3),
        "blurred": setting.blurred,
        "grainy": lambda rng, n: second(rng, n) + 0.2 * size * rng.standard_normal((n, *setting.shape)),
        "leakage of a tenth": lambda rng, n: second(rng, n) + 0.1 * first(rng, n),
        "sources exchanged": first,
    }
    other = second if fault == "sources exchanged" else first
    return dict(zip(setting.names, (other, changed[fault]), strict=True))


FAULTS = (
    *("none", "a Gaussian of the same moments", "narrow by 0.8", "wide by 1.25", "mean off by 0.3", "a kind missing"),
    *("weights of kinds off by two", "blurred", "grainy", "leakage of a tenth", "sources exchanged"),
)
SETTINGS = {"manifolds": on_manifolds, "digits": on_digits}


def examine(setting: Setting, fault: str, seed: int, n: int) -> dict:
    """One repetition."""
    begin = time.process_time()
    problem = setting.observe(np.random.default_rng([seed, 17]), n)
    model = Believed(wrong(setting, fault), dict.fromkeys(setting.names, setting.shape))
    result = run_panel(problem, model, key=jax.random.key(seed), checks=["law"])["law"]
    parts = {part.where: (part.value, part.p) for part in result.parts if part.what == "AUC"}
    return {"level": result.level, "parts": parts, "seconds": time.process_time() - begin}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--observations", type=int, default=1024, help="held out, per view")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no repetition is begun")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    file, end = a.out / "law.json", time.monotonic() + 60 * a.minutes
    runs = json.loads(file.read_text()) if file.is_file() else {}
    for problem in a.problems:
        setting = SETTINGS[problem]()
        for seed in range(a.repeats):
            for fault in FAULTS:
                name = f"{problem}/{a.observations}/{fault}/{seed}"
                if name not in runs and time.monotonic() < end:
                    runs[name] = examine(setting, fault, seed, a.observations)
                    file.write_text(json.dumps(runs, indent=1) + "\n")
        print(f"\n{problem}, {a.observations} held-out observations per view")
        print(f"{'wrong prior':32s}{'n':>4s}{'seen':>7s}{'red':>7s}{'AUC, alone':>12s}{'AUC, both':>11s}{'CPU s':>8s}")
        for fault in FAULTS:
            found = [
                runs[name]
                for seed in range(a.repeats)
                if (name := f"{problem}/{a.observations}/{fault}/{seed}") in runs
            ]
            if found:
                seen, red = (np.mean([r["level"] in levels for r in found]) for levels in (("amber", "red"), ("red",)))
                areas = np.mean([[value for value, _ in r["parts"].values()] for r in found], axis=0)
                seconds = np.median([r["seconds"] for r in found])
                row = f"{fault:32s}{len(found):4d}{seen:7.2f}{red:7.2f}{areas[0]:12.3f}{areas[1]:11.3f}{seconds:8.1f}"
                print(row, flush=True)


if __name__ == "__main__":
    main()
