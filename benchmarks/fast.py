"""Fast posteriors beside the method of a fit: how near they come, and what a draw costs.

    python benchmarks/fast.py manifolds [--shared] [--steps 4096] [--width 256] [--evaluations 5]
    python benchmarks/fast.py digits RUN [--steps 4096] [--width 256] [--evaluations 4]
    python benchmarks/fast.py drawn [--pairs 2] [--distil 3000]

The first compares with the exact joint posterior of two manifolds of Gaussian components (`benchmarks/posterior.py`);
the second with the truth of held-out digits over grass, of a run of `dichroic demo`, with and without the gate; the
third, with the manifolds again, is of candidates that stochastic denoisers draw: exact ones by default, and with
`--distil` those that are trained in so many steps.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from dichroic.diagnose import Budget
from dichroic.diffusion import MLPConfig, Prior, TrainingConfig
from dichroic.onestep import GeneratorPrior, GeneratorTraining, OneStepConfig, distill
from dichroic.posterior import Drawn, Fast, Task, observation_keys
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


def drawn(pairs: list[Pair], priors: list[dict[str, Prior]], what: str, **settings) -> None:
    """A row of the table of candidates that stochastic denoisers draw."""
    energies, chi, off, milliseconds, evaluations = [], [], [], [], 0
    for pair, known in zip(pairs, priors, strict=True):
        view = pair.tiled(DRAWS)
        bound = Drawn(**settings, batch=len(view)).bind(view, known, key=jax.random.key(0))
        (found,), cost = timed(bound, len(view), 1)
        x = np.concatenate([pair.untile(sample) for sample in found.samples.values()], axis=-1)
        energies.append(energy_distances(x, pair.exact))
        off.append(pair.off(x))
        chi.append(found.chi_square.mean())
        milliseconds.append(cost)
        evaluations = found.cost.total
    e = np.concatenate(energies)
    print(
        f"| {what} | {evaluations} | {e.mean():.3f} ± {e.std() / len(e) ** 0.5:.3f} | {np.mean(off):.3f} | "
        f"{np.mean(chi):.2f} | {np.mean(milliseconds):.1f} |",
        flush=True,
    )


def on_drawn(pairs: list[Pair]) -> None:
    """Exact stochastic denoisers: chains of several lengths, numbers of candidates, and rules."""
    exact: list[dict[str, Prior]] = [pair.exact_priors for pair in pairs]
    for steps in (1, 2, 4, 7):
        drawn(pairs, exact, f"noised anew {steps} times, 64 candidates", steps=steps)
    for candidates in (4, 16):
        drawn(pairs, exact, f"noised anew 7 times, {candidates} candidates", candidates=candidates)
    drawn(pairs, exact, "16 candidates, bare", candidates=16, local=0.0)
    drawn(pairs, exact, "16 candidates, one Gaussian with their moments", candidates=16, rule="ensemble")


def on_distilled(pairs: list[Pair], steps: int) -> None:
    """Stochastic denoisers that are distilled from the exact denoisers."""
    priors: list[dict[str, Prior]] = []
    network = MLPConfig(width=128, depth=3)
    for number, pair in enumerate(pairs):
        rng, begin, found = np.random.default_rng(number), time.process_time(), {}
        for k, (s, prior) in enumerate(pair.exact_priors.items()):
            data = prior.scaling.to_scaled(pair.sources[s].sample(rng, 20_000)).astype(np.float32)
            training = TrainingConfig(steps=steps, batch=256, decay="linear", ema=0.995)
            teacher = jax.tree.map(lambda a: np.asarray(a, np.float32), prior.denoiser())
            file = Path("runs/fast") / f"{number}-{s}-{steps}.safetensors"  # the same command goes on
            file.parent.mkdir(parents=True, exist_ok=True)
            config = OneStepConfig(training=training, sigma_max=6.0)
            how = GeneratorTraining(network, config, stochastic=True, checkpoint=file)
            generator, _ = distill(teacher, data, how, key=jax.random.key(k))
            found[s] = GeneratorPrior(generator, (6.0, 1.0), prior.scaling)
        print(f"distilled in {steps} steps: {time.process_time() - begin:.0f} s of two sources", flush=True)
        priors.append(found)
    for steps in (1, 4, 7):
        drawn(pairs, priors, f"distilled, noised anew {steps} times, 64 candidates", steps=steps)


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
    """Runs one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["manifolds", "digits", "drawn"])
    parser.add_argument("run", nargs="?", help="a run of digits over grass")
    parser.add_argument("--shared", action="store_true", help="the same matrices for all observations")
    parser.add_argument("--pairs", type=int, default=1, help="of manifolds")
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--evaluations", type=int, nargs="*", default=[5])
    parser.add_argument("--distil", type=int, help="steps of training stochastic denoisers")
    parser.add_argument("--judge", type=int, nargs=2, help="simulations and draws of the gate")
    a = parser.parse_args()
    if a.what == "drawn":
        pairs = [Pair(seed, 64, 4) for seed in range(a.pairs)]
        return on_drawn(pairs) if a.distil is None else on_distilled(pairs, a.distil)
    for evaluations in a.evaluations:
        method = Fast(pair_steps=a.steps, pair_batch=a.batch, pair_width=a.width, evaluations=evaluations)
        if a.what == "manifolds":
            on_manifolds(method, a.shared, a.pairs)
        else:
            on_digits(Run(a.run), method, None if a.judge is None else Budget(sbc=tuple(a.judge)))


if __name__ == "__main__":
    main()
