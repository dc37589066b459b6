"""Objectives of a fit on two small problems: digits of 8 x 8 over grass, and two random manifolds.

    python benchmarks/objectives.py [--problems digits manifolds] [--steps 384] [--laps 3] [--seeds 1]

Closed forms of one component, small networks: what a network learns beside a Gaussian is all that differs. Prints the
PSNR of single draws and of the mean of eight for held-out observations, and the CPU time of the fit. The objectives get
the same steps; two levels are two networks. `dichroic reproduce --ablation objective` has the settings of experiments.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from dichroic.metrics import psnr
from dichroic.run import fit
from dichroic.settings import preset
from dichroic.studies.reproduce.generators import generate

PROBLEMS = {
    "digits": ("grassy_digits", {"n_grass": 1024, "repeats": 4}, "mix", "digit", 1.0),
    "manifolds": ("contrastive", {"sources": 2, "n": 4096, "held_out": 512}, "view2", "source2", 4.0),
}
CASES = {
    "denoising": ("denoising", 64),
    "denoising, wider": ("denoising", 90),
    "residual, two levels": ({"kind": "residual_denoising"}, 64),
    "lifted": ({"kind": "lifted_denoising"}, 64),
    "lifted, two levels": ({"kind": "lifted_denoising", "levels": 2}, 64),
}


def measured(problem, case, steps, laps, seed):
    """PSNR of draws and of their mean, and seconds."""
    generator, arguments, view, source, peak = PROBLEMS[problem]
    objective, width = CASES[case]
    learned, held_out = generate(generator, arguments, seed, None)
    config = preset(
        "standard",
        {
            "laps": laps,
            "patience": 0,
            "draws": 1,
            "seed": seed,
            "components": {"components": 1},
            "law": "em",
            "network": {"kind": "mlp", "width": width, "depth": 2, "embedding": 16},
            "training": {"steps": steps, "batch": 128, "objective": objective},
            "sampling": {"kind": "annealed", "steps": 16},
        },
    )
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = fit(learned, config, out=Path(folder) / "run")
        seconds = time.process_time() - start
        draws = run.separate(held_out, draws=8, share=1.0, seed=seed).draws(view, source)
    truth = np.asarray(held_out.views[view].truth[source])
    return [psnr(x, truth, peak) for x in (draws[:, 0], draws.mean(1))] + [seconds]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--steps", type=int, default=384)
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    for problem in given.problems:
        for case in CASES:
            rows = np.array([measured(problem, case, given.steps, given.laps, s) for s in range(given.seeds)])
            draws, means, seconds = rows.T.round(2)
            print(f"{problem:10s} {case:22s} draws {draws} mean {means} {seconds} s", flush=True)


if __name__ == "__main__":
    main()
