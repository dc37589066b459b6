"""Two layers of digits, the front one hiding the other where it is bright: draws beside the exact posterior.

    python benchmarks/occlusion.py [--observations 64] [--draws 16]

Zeros of 8 x 8 pixels in front, one of 60 atoms, and ones behind, a Gaussian with their moments; priors are given.
Given the atom all is linear, so the exact posterior is a mixture over atoms. Printed are the widths of the back under
the front and elsewhere, coverage, and how often draws have the right atom; by tangents alone and with turns of
Hamiltonian Monte Carlo.
"""

import argparse
import time

import jax
import numpy as np

from dichroic import Problem, Source, View
from dichroic.algebra import Gaussian
from dichroic.diffusion import DenoiserPrior, Empirical, Scaling, Schedule
from dichroic.posterior import MomentMatching, observation_keys
from dichroic.studies.experiments import grassy_digits

STD, D = 0.05, 64


def opacity(front):
    """Of a pixel by its brightness."""
    return jax.nn.sigmoid((front - 0.4) / 0.05)


def occlude(front, back):
    """What is seen of two layers."""
    return opacity(front) * front + (1 - opacity(front)) * back


def exact(y: np.ndarray, atoms: np.ndarray, mean: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the atoms, `(n, N)`, and standard deviations of the back, `(n, 64)`."""
    log, means, variances = np.zeros((len(y), len(atoms))), np.zeros((len(y), len(atoms), D)), np.zeros((len(atoms), D))
    for k, atom in enumerate(atoms):
        shows = 1 - np.asarray(opacity(atom), float)
        S = shows[:, None] * C * shows + STD**2 * np.eye(D)
        K = np.linalg.solve(S, shows[:, None] * C).T
        r = y - (1 - shows) * atom - shows * mean
        log[:, k] = -(np.linalg.slogdet(S)[1] + np.einsum("ni,ij,nj->n", r, np.linalg.inv(S), r)) / 2
        means[:, k], variances[k] = mean + r @ K.T, np.diag(C - K @ (shows[:, None] * C))
    w = np.exp(log - log.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    centre = np.einsum("nk,nkd->nd", w, means)
    return w, np.sqrt(w @ variances + np.einsum("nk,nkd->nd", w, (means - centre[:, None]) ** 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=64)
    parser.add_argument("--draws", type=int, default=16)
    args = parser.parse_args()
    n, draws, rng = args.observations, args.draws, np.random.default_rng(7)
    zeros, ones = (
        grassy_digits(classes=[k], n_grass=8, repeats=1)[0].views["mix"].truth["digit"].reshape(-1, D) for k in (0, 1)
    )
    atoms, mean, C = zeros[:60], ones.mean(0), np.cov(ones.T) + 1e-3 * np.eye(D)
    which = rng.integers(len(atoms), size=n)
    back = mean + rng.standard_normal((n, D)) @ np.linalg.cholesky(C).T
    y = np.asarray(occlude(atoms[which], back)) + STD * rng.standard_normal((n, D))
    sources = {"front": Source((D,)), "back": Source((D,))}
    view = Problem(sources, {"v": View(y.astype(np.float32), {("front", "back"): occlude}, STD)}).views["v"]
    scaling = Scaling(float(ones.mean()), float(ones.std()))
    law = DenoiserPrior.of(Gaussian.of(mean, C), (D,), Schedule(), scaling, {})
    w, width = exact(y, atoms, mean, C)
    hidden, prior = atoms[which] > 0.5, np.broadcast_to(np.sqrt(np.diag(C)), (n, D))
    for mcmc in (0, 4):
        begin = time.process_time()
        bound = MomentMatching(mcmc=mcmc).bind(view, {"front": Empirical.of(atoms), "back": law}, key=jax.random.key(0))
        found = [bound.draw(observation_keys(jax.random.key(1 + k), n)).samples for k in range(draws)]
        x = {s: np.stack([one[s] for one in found]) for s in sources}
        ranks = ((x["back"] < back).sum(0) + rng.random((n, D))) / (draws + 1)
        nearest = np.argmin(((x["front"][:, :, None] - atoms) ** 2).sum(-1), -1)
        for words, part in (("under the front", hidden), ("elsewhere", ~hidden)):
            spread, true, before = (np.sqrt(np.mean(v[part])) for v in (x["back"].var(0, ddof=1), width**2, prior**2))
            covered = np.mean((ranks[part] > 0.05) & (ranks[part] < 0.95))
            print(
                f"{mcmc} turns; back {words}: width {spread:.4f}, exact {true:.4f}, prior {before:.4f}; nine tenths "
                f"cover {covered:.3f}"
            )
        print(
            f"{mcmc} turns; the right front in {np.mean(nearest == which):.3f} of the draws, exact "
            f"{np.mean(w[np.arange(n), which]):.3f}; {time.process_time() - begin:.0f} s of CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
