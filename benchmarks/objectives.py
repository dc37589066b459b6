"""Objectives of a fit on two small problems: digits of 8 x 8 over grass, and two random manifolds.

    python benchmarks/objectives.py [--problems digits manifolds] [--cases ...] [--steps 512] [--laps 1] [--seeds 3]

Closed forms of one component, small networks: what a network learns beside a Gaussian is all that differs. Prints the
PSNR of single draws and of the mean of eight for other observations, what it is more than that of denoising of the
same seed, with 95 % intervals by Student's t over seeds, and the CPU time of a fit. The objectives get the same steps;
two levels are two networks. A result is kept in `benchmarks/results/objectives.json` when it is made: the same command
goes on. `dichroic reproduce --ablation objective` has the settings of experiments.
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from dichroic.metrics import psnr
from dichroic.run import fit
from dichroic.settings import preset
from dichroic.studies.reproduce.generators import generate

KEPT = Path(__file__).parent / "results" / "objectives.json"
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
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
            "held_out": 0.0,  # the last lap is used, proven or not: objectives are compared, not laps with closed forms
            "judged": "never",
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


def told(values):
    """Mean and interval."""
    n = len(values)
    error = T95[n] * np.std(values, ddof=1) / n**0.5 if n in T95 else np.nan
    return f"{np.mean(values):+.2f} ± {error:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--laps", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for seed in range(given.seeds):  # outermost: what is cut off leaves whole seeds
        for problem, case in product(given.problems, given.cases):
            name = f"{problem}/{case}/{given.laps} laps of {given.steps}/{seed}"
            if name not in kept:
                kept[name] = measured(problem, case, given.steps, given.laps, seed)
                KEPT.write_text(json.dumps(kept, indent=1) + "\n")
                print(name, kept[name], flush=True)
    for problem in given.problems:
        rows = {
            case: [kept[f"{problem}/{case}/{given.laps} laps of {given.steps}/{seed}"] for seed in range(given.seeds)]
            for case in given.cases
        }
        first = np.array(next(iter(rows.values())))
        print(f"| {problem} | draws, dB | beside denoising | means, dB | beside denoising | CPU s |")
        for case, values in rows.items():
            found = np.array(values)
            cells = [x for k in (0, 1) for x in (told(found[:, k]), told(found[:, k] - first[:, k]))]
            print(f"| {case} | {' | '.join(cells)} | {found[:, 2].mean():.0f} |")


if __name__ == "__main__":
    main()
