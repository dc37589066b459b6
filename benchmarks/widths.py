"""How wide the draws of a learned posterior are beside their errors, and what widens them.

    dichroic reproduce grassy-full --scale laptop --data MNIST
    python benchmarks/widths.py runs/reproduce/laptop/grassy-full [--observations 64] [--ways plain steps=48]

Of a fit by the law of the mixtures that `dichroic reproduce` has kept, 19 draws of held-out mixtures, whose truth is
known, and of as many that are simulated from the last pool, as a fit measures it without a truth: the rms error of the
mean of draws over their rms deviation; how much of the truth intervals of 50 and 90 % hold, of all entries whose draws
vary, and of those where those of the first way do; PSNR of a draw and of the mean of draws, all entries together, with
the peak 1. Ways: `plain`, with as many steps as the fit takes; `steps=48`, with so many. Seconds are of the CPU.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from dichroic.law import load_rounds
from dichroic.law.conditional import Known, evidence
from dichroic.law.rounds import draw_all, new_pairs
from dichroic.metrics import coverage
from dichroic.problem import load_problem
from dichroic.run import Run

_DRAWS, _VARIES = 19, 0.03  # in standard deviations of the source


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--view", default="mix")
    parser.add_argument("--observations", type=int, default=64)
    parser.add_argument("--ways", nargs="+", default=["plain", "steps=48"])
    a = parser.parse_args()
    run, n, key = Run(a.folder / "dichroic" / "run"), a.observations, jax.random.key(5)
    posterior = run.posteriors[a.view]
    learned, test = (load_problem(a.folder / "data" / part).problem.views[a.view] for part in ("train", "test"))
    contrast, test = posterior.contrast.of(learned), test.select(np.arange(n))
    state = load_rounds(a.folder / "dichroic/run/checkpoints/rounds.safetensors", contrast, posterior.config)
    held, config = posterior.contrast.of(test), posterior.config
    truth = np.asarray(contrast.scaling.to_scaled(np.asarray(test.truth[contrast.source])), np.float32)
    known = evidence(held, state.regression, held.y, np.arange(n), times=config.backgrounds, key=key)
    few = config.model_copy(update={"pairs": n})
    x, pairs = new_pairs(contrast, few, state.regression, state.pool, jax.random.fold_in(key, 1))
    cases: dict[str, tuple[np.ndarray, Known]] = {"held out": (truth, known), "simulated": (np.asarray(x), pairs)}
    varies: dict[str, np.ndarray] = {}
    for way in a.ways:
        begin = time.process_time()
        steps = int(way.removeprefix("steps=")) if way.startswith("steps=") else config.draw_steps
        for name, (true, given) in cases.items():
            keys = [jax.random.fold_in(key, 7 + k) for k in range(_DRAWS)]
            drawn = (draw_all(state.denoiser, given, steps, k)[0] for k in keys)
            draws = np.stack(list(drawn), axis=1)
            varies.setdefault(name, draws.std(1) > _VARIES)
            print(f"{way:10s} {name}: {told(draws, true, varies[name], float(contrast.scaling.scale))}", end="  ")
            print(f"{time.process_time() - begin:.0f} s", flush=True)


def told(draws: np.ndarray, truth: np.ndarray, varies: np.ndarray, scale: float) -> str:
    """A line, of draws in scaled units."""
    error, variance = (draws.mean(1) - truth) ** 2, (1 + 1 / _DRAWS) * draws.var(1, ddof=1)
    some = np.where(varies[:, None], draws, draws[:, :1])  # entries whose draws are one are left out
    shares = " ".join(f"{coverage(d, truth, share):.2f}" for d in (draws, some) for share in (0.5, 0.9))
    psnr = [-10 * np.log10(scale**2 * e.mean()) for e in ((draws[:, 0] - truth) ** 2, error)]
    z = (error.mean() / variance.mean()) ** 0.5
    return f"error over deviation {z:.2f}, coverage {shares}, a draw {psnr[0]:.2f}, their mean {psnr[1]:.2f} dB"


if __name__ == "__main__":
    main()
