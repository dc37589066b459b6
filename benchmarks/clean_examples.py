"""What a few clean examples of a source bring, and a prior from elsewhere to begin at, on digits over grass.

    python benchmarks/clean_examples.py [--laps 0] [--examples 0 16 64] [--start]

Zeros and ones of 8 x 8 pixels over grass, 576 mixtures, 1,024 observations of grass. Clean examples are digits that are
in no mixture, as a view of their own with a hundredth of the noise. The prior to begin at was learned from the same
digits moved by a pixel: a simulation that is near, but not right. Scores are PSNR of held-out digits and grass in dB.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from dichroic import FitConfig, Problem, View, fit
from dichroic.algebra import Gaussian
from dichroic.diffusion import DenoiserPrior, Scaling, Schedule
from dichroic.metrics.psnr import psnr
from dichroic.studies.experiments import grassy_digits


def with_examples(problem: Problem, held_out: Problem, n: int) -> tuple[Problem, Problem]:
    """Digits of the held-out mixtures as a view, and held-out mixtures of others."""
    if not n:
        return problem, held_out
    digits = held_out.views["mix"].truth["digit"]
    flat = digits.reshape(len(digits), -1)
    unique, first, which = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(unique))[:n]
    chosen, others = first[order], np.flatnonzero(~np.isin(which.ravel(), order))
    kept = {**{v: np.arange(len(view)) for v, view in held_out.views.items()}, "mix": others}
    clean = View(digits[chosen], {"digit": 1.0}, 1e-3)
    return Problem(problem.sources, {**problem.views, "clean": clean}, problem.title), held_out.select(kept)


def moved_prior(problem: Problem) -> DenoiserPrior:
    """A Gaussian of the digits, moved by a pixel."""
    x = np.roll(problem.views["mix"].truth["digit"], 1, axis=2)
    flat = x.reshape(len(x), -1).astype(float)
    found = Gaussian.of(flat.mean(0), np.cov(flat.T) + 1e-4 * np.eye(flat.shape[1]))
    return DenoiserPrior.of(found, x.shape[1:], Schedule(), Scaling(float(flat.mean()), float(flat.std())), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laps", type=int, default=0)
    parser.add_argument("--gaussian-laps", type=int, default=128)
    parser.add_argument("--examples", type=int, nargs="*", default=[0, 16, 64])
    parser.add_argument("--start", action="store_true")
    options = parser.parse_args()
    problem, held_out = grassy_digits(n_grass=1024, repeats=2)
    for n in options.examples:
        for start in ({}, {"digit": moved_prior(problem)}) if options.start else ({},):
            begin = time.perf_counter()
            known, judged = with_examples(problem, held_out, n)
            config = FitConfig(laps=options.laps, draws=4, judged="never", law="em")
            config = config.model_copy(
                update={"gaussian": config.gaussian.model_copy(update={"laps": options.gaussian_laps})}
            )
            with tempfile.TemporaryDirectory() as folder:
                run = fit(known, config, out=Path(folder) / "run", held_out=judged, start=start)
                found = run.separate(judged, draws=4)
                truth = judged.views["mix"].truth
                scores = {s: psnr(found.mean("mix", s), x, peak=1.0) for s, x in truth.items()}
            words = ", ".join(f"{s} {score:.2f} dB" for s, score in scores.items())
            print(
                f"{n} examples, {'started' if start else 'cold'}: {words}; {time.perf_counter() - begin:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
