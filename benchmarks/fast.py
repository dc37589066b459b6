"""Fast posteriors beside the method of a fit: how near they come, and what a draw costs.

    python benchmarks/fast.py manifolds [--shared] [--steps 4096] [--width 256] [--evaluations 5]
    python benchmarks/fast.py digits RUN [--steps 4096] [--width 256] [--evaluations 4]

The first compares with the exact joint posterior of two manifolds of Gaussian components (`benchmarks/posterior.py`);
the second with the truth of held-out digits over grass, of a run of `dichroic demo`, with and without the gate.
"""

import argparse
import time

import jax
import numpy as np

from dichroic.diagnose import Budget
from dichroic.posterior import Fast, Task, observation_keys
from dichroic.run import Run
from dichroic.run.distillation import distill_posterior
from dichroic.studies.experiments.exact_components import components_view
from posterior import NOISE, OBSERVATIONS, Pair, energy_distances

DRAWS = 8


def timed(bound, n: int, draws: int):
    """Draws of a view and the CPU milliseconds of one, compilation left out."""
    bound.draw(observation_keys(jax.random.key(99), n))
    begin = time.process_time()
    found = [bound.draw(observation_keys(jax.random.key(k), n)) for k in range(draws)]
    return found, 1e3 * (time.process_time() - begin) / (n * draws)


def on_manifolds(method: Fast, shared: bool, pairs: int) -> None:
    """Energy distances to the exact posterior, on `pairs` pairs of manifolds."""
    energies, chi, off, seconds, costs = [], [], [], [], []
    for seed in range(pairs):
        pair = Pair(seed, 64, 4, shared)
        rng = np.random.default_rng(seed)
        pool = {s: mixture.sample(rng, OBSERVATIONS * 4) for s, mixture in pair.sources.items()}
        view = pair.view if shared else components_view(pair.sources, OBSERVATIONS, seed + 1000, noise=NOISE)[0]
        begin = time.process_time()
        found = method.distil(Task(view, pair.priors, jax.random.key(20 + seed), pool))
        costs.append(time.process_time() - begin)
        tiled = pair.tiled(DRAWS)
        bound = found.bind(tiled, pair.priors, key=jax.random.key(0))
        (drawn,), milliseconds = timed(bound, len(tiled), 1)
        x = np.concatenate([pair.untile(sample) for sample in drawn.samples.values()], axis=-1)
        energies.append(energy_distances(x, pair.exact))
        chi.append(drawn.chi_square.mean())
        off.append(pair.off(x))
        seconds.append(milliseconds)
    e = np.concatenate(energies)
    print(
        f"{method.evaluations} evaluations: energy distance {e.mean():.3f} +- {e.std() / len(e) ** 0.5:.3f}, off the "
        f"manifold {np.mean(off):.3f}, chi-square {np.mean(chi):.2f}, {np.mean(seconds):.3f} ms a draw, training "
        f"{np.mean(costs):.0f} s",
        flush=True,
    )


def on_digits(run: Run, method: Fast, budget: Budget | None) -> None:
    """PSNR, spread and cost of draws of held-out mixtures, of the method of the run and of the fast posterior."""
    view = "mix"
    begin = time.process_time()
    report = {"last": ""}

    def tell(what: str, share: float) -> None:
        if what != report["last"]:
            print(f"{time.process_time() - begin:6.0f} s  {what}", flush=True)
            report["last"] = what

    found = distill_posterior(run, view, method, budget=budget, report=tell)
    print(f"{time.process_time() - begin:.0f} s in all; refused: {found.refused}", flush=True)
    held_out = run.held_out
    assert held_out is not None
    seen = held_out.views[view]
    fast = found.bind(seen, run.priors, key=jax.random.key(1))
    slow = run.config.sampling.bind(seen, run.priors, key=jax.random.key(1))
    for name, bound, draws in (("fast", fast, DRAWS), ("slow", slow, 2)):
        drawn, milliseconds = timed(bound, len(seen), draws)
        print(f"{name}: {drawn[0].cost.total} evaluations, {milliseconds:.2f} ms a draw, ", end="")
        print(f"chi-square {np.mean([d.chi_square.mean() for d in drawn]):.3f}")
        for s in seen.mixing:
            x, truth = np.stack([d.samples[s] for d in drawn]), seen.truth[s]
            squares = ((x - truth) ** 2).reshape(*x.shape[:2], -1).mean(-1)
            spread = x.var(axis=0, ddof=1).mean()
            error = ((x.mean(0) - truth) ** 2).mean() - spread / draws
            print(
                f"  {s}: PSNR of draws {-10 * np.log10(squares).mean():.2f} dB, spread over error {spread / error:.2f}"
            )


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["manifolds", "digits"])
    parser.add_argument("run", nargs="?", help="a run of digits over grass")
    parser.add_argument("--shared", action="store_true", help="the same matrices for all observations")
    parser.add_argument("--pairs", type=int, default=1, help="of manifolds")
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--evaluations", type=int, nargs="*", default=[5])
    parser.add_argument("--judge", type=int, nargs=2, help="simulations and draws of the gate")
    a = parser.parse_args()
    for evaluations in a.evaluations:
        method = Fast(pair_steps=a.steps, pair_batch=a.batch, pair_width=a.width, evaluations=evaluations)
        if a.what == "manifolds":
            on_manifolds(method, a.shared, a.pairs)
        else:
            on_digits(Run(a.run), method, None if a.judge is None else Budget(sbc=tuple(a.judge)))


if __name__ == "__main__":
    main()
