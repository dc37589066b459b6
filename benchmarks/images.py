"""Posterior samplers with the priors of a run on images: PSNR of draws against network evaluations.

    python benchmarks/images.py RUN [--observations 64] [--sampler NAME ...]

RUN is the folder of a fit whose held-out observations have a truth. The last view is separated by the published
sampler (predictor-corrector, one correction, one conjugate gradient iteration, 256 steps: DDPRISM, arXiv 2510.05205)
and by those of this library, from the same priors.
"""

import argparse
import json
import time
from pathlib import Path

PUBLISHED = {"kind": "annealed", "step": "pc", "covariance": "krylov", "iterations": 1}
SAMPLERS = {
    "decoupled, 8 steps": {"steps": 8},
    "decoupled, 16 steps": {"steps": 16},
    "decoupled, 24 steps": {"steps": 24},
    "published, 16 steps": PUBLISHED | {"steps": 16},
    "published, 64 steps": PUBLISHED | {"steps": 64},
    "published, 256 steps": PUBLISHED | {"steps": 256},
}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--observations", type=int, default=64)
    parser.add_argument("--sampler", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()

    import jax
    import numpy as np

    from dichroic.metrics import bootstrap, psnr_per_sample
    from dichroic.posterior import observation_keys, read_method
    from dichroic.run import Run

    run = Run(arguments.run)
    assert run.held_out is not None, "the run has no held-out observations"
    name, view = list(run.held_out.views.items())[-1]
    view = view.select(np.arange(min(arguments.observations, len(view))))
    source = list(view.mixing)[-1]
    print(f"{source} in {name}, {len(view)} held-out observations, lap {run.records[-1]['best_lap']}")
    print(f"{'sampler':<24} {'evaluations':>11} {'PSNR of draws (dB)':>24} {'chi-square':>10} {'seconds':>8}")
    rows = []
    for label in arguments.sampler:
        begin = time.perf_counter()
        bound = read_method(SAMPLERS[label]).bind(view, run.priors, key=jax.random.key(0))
        drawn = bound.draw(observation_keys(jax.random.key(0), len(view)))
        seconds = time.perf_counter() - begin
        low, score, high = bootstrap(psnr_per_sample(drawn.samples[source], view.truth[source]))
        chi = drawn.summary["chi_square"]
        evaluations = drawn.cost.total
        rows.append({"sampler": label, "evaluations": evaluations, "psnr": [low, score, high], "chi_square": chi})
        interval = f"{score:.2f} ({low:.2f} to {high:.2f})"
        print(f"{label:<24} {evaluations:11d} {interval:>24} {chi:10.2f} {seconds:8.1f}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "images.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
