"""Whether looser ties pay elsewhere: the components stage as it is, and going on with `looser` where data say so.

    python benchmarks/ties.py [masked-50 cells ...] [--seeds 0 1] [--looser 2.5 1] [--components 32] [--data FOLDER]

Prints, of experiments of `dichroic reproduce` at laptop scale, what was found, the ties kept, the log-likelihood of a
held-out observation (a tenth of what is learned from, as in a fit), which chooses, and the PSNR of exact posterior
means of other observations, which does not. Seconds are of the CPU, of the stage alone; the first pays for compiling.
"""

import argparse
import time
from pathlib import Path

from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, components_em, gaussian_em
from dichroic.closed.routes import bind_components
from dichroic.metrics import psnr
from dichroic.studies.reproduce.experiment import load_experiment
from dichroic.studies.reproduce.generators import generate


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", default=["masked-50", "cells"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--looser", type=float, nargs="+", default=[2.5, 1.0])
    parser.add_argument("--components", type=int, default=32)
    parser.add_argument("--data", type=Path, default=None)
    a = parser.parse_args()
    for name in a.experiments:
        experiment = load_experiment(name, "laptop")
        for seed in a.seeds:
            problem, scored = generate(experiment.generator, experiment.arguments, seed, a.data)
            kept, held_out = problem.split(0.1, seed)
            start = {s: Components.of(p) for s, p in gaussian_em(kept, seed=seed).populations.items()}
            shapes = {s: x.shape for s, x in problem.sources.items()}
            for looser in ((), tuple(a.looser)):
                begin = time.process_time()
                config = ComponentsConfig(components=a.components, looser=looser)
                found = components_em(kept, start, config, held_out=held_out, seed=seed)
                parts = [f"{time.process_time() - begin:.0f} s", f"ties {found.ties:g}", f"{found.sizes}"]
                parts.append(f"held out {found.held_out[-1][1]:.3f}" if found.held_out else "nothing gained")
                for target in experiment.targets:
                    view = scored.views[target.view]
                    mean = bind_components(view, shapes).mean(found.components)[target.source]
                    score = psnr(mean.reshape(view.truth[target.source].shape), view.truth[target.source], target.peak)
                    parts.append(f"{target.source} {score:.2f} dB")
                print(f"{name}, seed {seed}, looser {looser}: {'  '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
