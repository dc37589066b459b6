"""Background noise of a recording: alpha-RGS with it as an exact constraint, and as a proximal step that knows it.

    python benchmarks/background.py [--below 40 30 20 16.9] [--mixtures 24] [--steps 1500] [--sir -24]

Pulse-shaped QPSK (512 samples) under synchronous OFDM with BPSK letters on all carriers, and white noise so many
decibels below the interference, as recordings have it. A row is a level of noise: the rate of wrong bits and the
squared error of the signal, before letters are decided, and what would be left of the bits if the interference were
known.
"""

import argparse
from dataclasses import replace
from time import process_time

import jax
import numpy as np

from dichroic.diffusion import describe_prior
from dichroic.posterior import AlphaRGS, observation_keys
from dichroic.problem import as_pairs
from dichroic.studies.radio import SIGNAL, bits_of, interference, matched_filter_error_rate, radio_mixtures

LENGTH = 512
WAYS = {
    "exact data": {"data": "hard", "alpha": "balanced"},
    "proximal, same weights": {"data": "proximal", "alpha": "balanced"},
    "proximal, weights of 1": {"data": "proximal", "alpha": "map"},
}


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--below", type=float, nargs="+", default=[40.0, 30.0, 20.0, 16.9])
    parser.add_argument("--mixtures", type=int, default=24)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--sir", type=float, default=-24.0)
    arguments = parser.parse_args()
    begin, n, rng = process_time(), arguments.mixtures, np.random.default_rng(1)
    problem, _ = radio_mixtures(n, sir=[arguments.sir], length=LENGTH, alphabet="bpsk")
    (view,) = problem.views.values()
    tables = {"signal": SIGNAL, "interference": interference("bpsk")}
    priors = {s: describe_prior(table, (LENGTH, 2), True) for s, table in tables.items()}
    kappa, sent = 10 ** (-arguments.sir / 20), as_pairs(view.truth["signal"])
    bits = bits_of(priors["signal"], sent)
    heads = [f"{name}: wrong bits, error (dB)" for name in WAYS]
    print(f"| noise below the interference (dB) | bits, interference known | {' | '.join(heads)} | CPU s |")
    print("|---" * (len(WAYS) + 3) + "|", flush=True)
    white = rng.normal(size=(n, LENGTH, 2)) @ np.array([1, 1j])
    for below in arguments.below:
        std, cells = kappa * 10 ** (-below / 20) / 2**0.5, []
        noisy = replace(view, y=(view.y + std * white).astype(np.complex64), noise=std).bind(problem.sources)
        for settings in WAYS.values():
            method = AlphaRGS(steps=arguments.steps, batch=n, nearest=False, **settings)
            drawn = method.bind(noisy, priors, key=jax.random.key(0)).draw(observation_keys(jax.random.key(1), n))
            x = drawn.samples["signal"]
            error = 10 * np.log10(((x - sent) ** 2).sum(-1).mean())
            cells.append(f"{(bits_of(priors['signal'], x) != bits).mean():.4f}, {error:.1f}")
        bound = matched_filter_error_rate(2**0.5 * std)
        print(f"| {below:g} | {bound:.4f} | {' | '.join(cells)} | {process_time() - begin:.0f} |", flush=True)


if __name__ == "__main__":
    main()
