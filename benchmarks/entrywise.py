"""Separation where operators multiply entry by entry: systems solved by entries, and as matrices.

    python benchmarks/entrywise.py [--lengths 128 256 512]

BASIS, ten moves at each of 24 noise levels, on twelve mixtures of the radio bench with priors of symbols: CPU seconds
of draws once programs are compiled, the least of three, and how far draws of the same key are apart.
"""

import argparse
from time import process_time

import jax
import numpy as np

from dichroic.diffusion import describe_prior
from dichroic.posterior import BASIS, observation_keys
from dichroic.studies.radio import SIGNAL, interference, radio_mixtures
from dichroic.white import WhitenedObservation

MIXTURES, ROUNDS = 12, 10


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    known = WhitenedObservation.squared_gains
    print("| real numbers a source | by matrices (CPU s) | by entries (CPU s) | ratio | largest difference of draws |")
    print("|---" * 5 + "|")
    for length in parser.parse_args().lengths:
        problem, _ = radio_mixtures(MIXTURES, sir=[-12.0], length=length)
        (view,) = problem.views.values()
        tables = {"signal": SIGNAL, "interference": interference()}
        priors = {s: describe_prior(table, (length, 2), True) for s, table in tables.items()}
        bound = BASIS(rounds=ROUNDS, batch=MIXTURES).bind(view, priors, key=jax.random.key(0))
        seconds, drawn = {}, {}
        for way, gains in (("matrices", lambda _: None), ("entries", known)):
            WhitenedObservation.squared_gains = gains
            jax.clear_caches()
            spent = []
            for _ in range(4):
                begin = process_time()
                found = bound.draw(observation_keys(jax.random.key(1), MIXTURES))
                spent.append(process_time() - begin)
            seconds[way], drawn[way] = min(spent[1:]), found.samples["interference"]
        off = np.abs(drawn["matrices"] - drawn["entries"]).max()
        print(
            f"| {2 * length} | {seconds['matrices']:.2f} | {seconds['entries']:.2f} "
            f"| {seconds['matrices'] / seconds['entries']:.0f} | {off:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
