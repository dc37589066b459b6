"""Noise that is not Gaussian: what outliers cost, and what is covered where data are counts.

    python benchmarks/likelihoods.py [--only manifolds] [--observations 256] [--draws 16] [--mcmc 0]

*Closed forms*: covariances of four numbers from 800 observations, a fiftieth of the values off by 50 standard
deviations of the noise, which is four or five of the signal. All else is with given priors, nothing learned: posterior
draws alone. *Outliers*: a hundredth of the values is off by as much, on digits over grass (Gaussians with the moments
of the sources) and on two random manifolds in five dimensions through random 3 x 5 matrices (mixtures of 256
Gaussians). *Counts*: a smooth Gaussian field of 8 x 8 pixels with a relative spread of 0.3, against Anscombe's
transform and a Wiener filter with the moments of what is transformed.
"""

import argparse
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dichroic import Problem, Source, View
from dichroic.algebra import Components, Gaussian
from dichroic.closed import gaussian_em
from dichroic.diffusion import DenoiserPrior, Prior, Scaling, Schedule
from dichroic.operators import DiagonalNoise, Poisson, StudentT
from dichroic.posterior import Auto, Candidates, Method, observation_keys
from dichroic.studies.experiments import grassy_digits
from dichroic.studies.experiments.exact_components import components_along_manifolds, components_view, exact_prior

SHARE, SIZE, FREEDOMS = 0.01, 50.0, (3.0, 2.0, 1.0)


def drawn(view: View, priors: Mapping[str, Prior], method: Method, draws: int) -> dict[str, np.ndarray]:
    """Posterior draws, shape `(draws, n, ...)`."""
    bound = method.bind(view, priors, key=jax.random.key(0))
    keys = [observation_keys(jax.random.key(1 + k), len(view)) for k in range(draws)]
    found = [bound.draw(k).samples for k in keys]
    return {s: np.stack([x[s] for x in found]) for s in view.mixing}


def gaussian_prior(x: np.ndarray) -> Prior:
    """The Gaussian with the moments of samples."""
    flat = x.reshape(len(x), -1).astype(float)
    found = Components.of(Gaussian.of(flat.mean(0), np.cov(flat.T) + 1e-6 * np.eye(flat.shape[1])))
    return DenoiserPrior.of(found, x.shape[1:], Schedule(), Scaling(float(flat.mean()), float(flat.std())), {})


def psnr(x: np.ndarray, truth: np.ndarray) -> float:
    """Of posterior means, mean over observations, in decibels."""
    square = ((x.mean(0) - truth) ** 2).reshape(len(truth), -1).mean(1)
    return float(np.mean(10 * np.log10(np.ptp(truth) ** 2 / square)))


def outliers(name: str, view: View, std: float, truth: Any, priors: Any, method: Method, draws: int) -> None:
    """Prints the PSNR of every source with and without outliers, by both likelihoods."""
    rng = np.random.default_rng(3)
    off = (rng.random(view.y.shape) < SHARE) * SIZE * std * rng.choice([-1, 1], view.y.shape)
    sources = {s: Source(x.shape[1:]) for s, x in truth.items()}
    for words, y, noise in (
        ("no outliers, Gaussian", view.y, DiagonalNoise(std)),
        ("outliers, Gaussian", view.y + off, DiagonalNoise(std)),
        ("outliers left out by who knows them", np.where(off == 0, view.y, np.nan), DiagonalNoise(std)),
        *((f"no outliers, Student, {f:g} degrees of freedom", view.y, StudentT(std, f)) for f in FREEDOMS),
        *((f"outliers, Student, {f:g} degrees of freedom", view.y + off, StudentT(std, f)) for f in FREEDOMS),
    ):
        begin = time.process_time()
        seen = Problem(sources, {"v": View(y.astype(np.float32), dict(view.mixing), noise)}).views["v"]
        x = drawn(seen, priors, method, draws)
        scores = ", ".join(f"{s} {psnr(x[s], truth[s]):.2f} dB" for s in truth)
        print(f"{name}; {words}: {scores}; {time.process_time() - begin:.0f} s of CPU", flush=True)


def counts(level: float, n: int, draws: int) -> None:
    """Prints errors and the share of truths in the central nine tenths of their draws."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(64, 2)
    C = (0.3 * level) ** 2 * np.exp(-((grid[:, None] - grid) ** 2).sum(-1) / 8) + 1e-4 * level**2 * np.eye(64)
    x = np.maximum(level + rng.standard_normal((n, 64)) @ np.linalg.cholesky(C).T, 0)
    y = rng.poisson(x).astype(np.float32)
    prior = DenoiserPrior.of(
        Components.of(Gaussian.of(np.full(64, level), C)), (64,), Schedule(), Scaling(level, 0.3 * level), {}
    )
    view = Problem({"x": Source((64,))}, {"v": View(y, {"x": 1.0}, Poisson(1.0))}).views["v"]
    begin = time.process_time()
    found = drawn(view, {"x": prior}, Auto(), draws)["x"]
    rank = (found < x).mean(0)
    low, high = 0.05, 0.95
    ranks = (rank * draws + rng.random(rank.shape)) / (draws + 1)
    covered = ((ranks > low) & (ranks < high)).mean(1)
    many = np.maximum(level + rng.standard_normal((20000, 64)) @ np.linalg.cholesky(C).T, 0)
    z, seen = 2 * np.sqrt(many + 3 / 8), 2 * np.sqrt(y + 3 / 8)
    S = np.cov(z.T)
    estimate = z.mean(0) + (seen - z.mean(0)) @ np.linalg.inv(S + np.eye(64)) @ S
    wiener = np.maximum(estimate / 2, 0) ** 2 - 1 / 8
    own, other = (np.sqrt(((e - x) ** 2).mean()) for e in (found.mean(0), wiener))
    print(
        f"counts, {level:g} per pixel: error {own / level:.4f} of the mean, Anscombe and Wiener {other / level:.4f}; "
        f"nine tenths cover {covered.mean():.3f} +- {covered.std() / np.sqrt(n):.3f}; "
        f"{time.process_time() - begin:.0f} s of CPU",
        flush=True,
    )


def closed(n: int = 800, d: int = 4, std: float = 0.1) -> None:
    """Prints relative errors of the covariance that the Gaussian stage finds, a fiftieth of the values being off."""
    rng = np.random.default_rng(0)
    B = rng.normal(size=(d, d))
    C = B @ B.T / d + 0.2 * np.eye(d)
    clean = rng.normal(size=(n, d)) @ np.linalg.cholesky(C).T + std * rng.normal(size=(n, d))
    off = (rng.random((n, d)) < 2 * SHARE) * SIZE * std * rng.choice([-1, 1], (n, d))
    for words, y, noise in (
        ("no outliers, Gaussian", clean, std),
        ("outliers left out by who knows them", np.where(off == 0, clean, np.nan), std),
        ("outliers, Gaussian", clean + off, std),
        *((f"outliers, Student, {f:g} degrees of freedom", clean + off, StudentT(std, f)) for f in FREEDOMS),
    ):
        S = gaussian_em(Problem({"x": Source((d,))}, {"v": View(y, {"x": 1.0}, noise)})).populations["x"].covariance()
        print(f"closed form; {words}: {np.linalg.norm(S - C) / np.linalg.norm(C):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=256)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--mcmc", type=int, default=0)
    parser.add_argument("--only", choices=["closed", "counts", "grass", "manifolds"], default=None)
    args = parser.parse_args()
    if args.only in (None, "closed"):
        closed()
    for level in (3.0, 30.0) if args.only in (None, "counts") else ():
        counts(level, args.observations, args.draws)
    if args.only in (None, "grass"):
        grass(args.observations, args.draws, args.mcmc)
    if args.only in (None, "manifolds"):
        sources = components_along_manifolds()
        view, _ = components_view(sources, args.observations)
        known = {s: exact_prior(c, Schedule(5e-3, 20.0)) for s, c in sources.items()}
        outliers("manifolds", view, 0.01, dict(view.truth), known, Candidates(), args.draws)


def grass(n: int, draws: int, mcmc: int) -> None:
    """Outliers on digits over grass."""
    learned, held_out = grassy_digits()
    name = max(held_out.views, key=lambda v: len(held_out.views[v].mixing))
    view, known = held_out.views[name].select(np.arange(n)), learned.views[name]
    priors = {s: gaussian_prior(known.truth[s]) for s in view.mixing}
    truth = {s: view.truth[s] for s in view.mixing}
    outliers("digits over grass", view, float(view.noise.std), truth, priors, Auto(mcmc=mcmc), draws)


if __name__ == "__main__":
    main()
