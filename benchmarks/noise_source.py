"""Noise that is no Gaussian as a source of its own, beside the same noise taken for Gaussian.

    python benchmarks/noise_source.py

A smooth signal of 16 numbers under interference: most of the time weak, one time in eight a burst of 6 times the size,
correlated along the record. One view shows interference alone, another the signal under it, 2,048 observations each,
with a read noise of 0.05. Either the interference is a source, learned as components, or it is Gaussian noise with the
covariance of the view that shows it alone. Root mean square errors of posterior means of 512 other observations, and
coverage of nine tenths of their draws.
"""

import tempfile
from pathlib import Path

import numpy as np

from dichroic import FitConfig, Problem, Source, View, fit
from dichroic.operators import DenseNoise

D, N, NEW, READ = 16, 2048, 512, 0.05
T = np.arange(D)
SIGNAL = np.exp(-(np.subtract.outer(T, T) ** 2) / 18) + 1e-4 * np.eye(D)
CORRELATED = 0.25**2 * 0.7 ** np.abs(np.subtract.outer(T, T))


def interference(rng: np.random.Generator, n: int) -> np.ndarray:
    """Bursts among weak noise."""
    size = np.where(rng.random(n) < 1 / 8, 6.0, 0.6)
    return size[:, None] * (rng.normal(size=(n, D)) @ np.linalg.cholesky(CORRELATED).T)


def main() -> None:
    rng = np.random.default_rng(0)

    def read(n: int) -> np.ndarray:
        return READ * rng.normal(size=(n, D))

    x = rng.normal(size=(N + NEW, D)) @ np.linalg.cholesky(SIGNAL).T
    alone, mixed = interference(rng, N) + read(N), x + interference(rng, N + NEW) + read(N + NEW)
    C = np.cov(alone.T)
    both, one = {"signal": 1.0, "interference": 1.0}, {"signal": 1.0}
    ways = {
        "a source of its own": (
            {"signal": Source((D,)), "interference": Source((D,))},
            {"alone": View(alone, {"interference": 1.0}, READ)},
            both,
            READ,
        ),
        "Gaussian noise": ({"signal": Source((D,))}, {}, one, DenseNoise.from_covariance(C)),
    }
    for name, (sources, views, mixing, noise) in ways.items():
        problem = Problem(sources, {**views, "mixed": View(mixed[:N], mixing, noise)})
        held_out = Problem(sources, {"mixed": View(mixed[N:], mixing, noise)})
        with tempfile.TemporaryDirectory() as folder:
            run = fit(problem, FitConfig(laps=0, components={"components": 4}), out=Path(folder) / "run")
            found = run.separate(held_out, draws=40)
            mean, draws = found.mean("mixed", "signal"), np.asarray(found.samples["mixed"]["signal"])
        low, high = np.quantile(draws, [0.05, 0.95], axis=1)
        covered = np.mean((low <= x[N:]) & (x[N:] <= high))
        error = np.sqrt(np.mean((mean - x[N:]) ** 2, axis=1))
        print(
            f"{name}: error {np.sqrt(np.mean(error**2)):.3f}, of half of the observations less than "
            f"{np.median(error):.3f}; nine tenths cover {covered:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
