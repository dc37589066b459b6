"""One-dimensional Levy processes: how far posterior means and intervals are from the exact ones, method by method.

    python benchmarks/levy.py [--observations 32] [--draws 32] [--evaluations 100] [--families laplace jumps]
        [--only WORDS] [--out docs/benchmarks]

A process of 16 steps, whose increments are normal, Laplacian, Student's t or seldom and Laplacian (jumps), lives on a
fine grid of values: a chain, so that denoisers at any noise level and posteriors behind sub-sampled data are exact, by
messages along it. Of every method: the squared distance of the mean of its draws to the exact mean, less what so few
draws would miss anyway, in per cent of the exact posterior variance; and how many of the truths lie in its intervals of
50 and 90 %.
"""

import argparse
import re
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from posterior_methods import SETTINGS, counted
from scipy import stats

from dichroic.diffusion import Denoiser, DenoiserPrior, Scaling, Schedule
from dichroic.operators import Mask
from dichroic.posterior import observation_keys
from dichroic.problem import View

LENGTH, VALUES, EDGE, NOISE = 16, 97, 4.0, 0.2
GRID = np.linspace(-EDGE, EDGE, VALUES)
WIDTH = (1 / (LENGTH + 1) * 2) ** 0.5  # of an increment: the process then has a mean variance of one
INCREMENTS = {
    "gauss": stats.norm(scale=WIDTH),
    "laplace": stats.laplace(scale=WIDTH / 2**0.5),
    "student": stats.t(df=3, scale=WIDTH / 3**0.5),
    "jumps": stats.laplace(scale=WIDTH / 2**0.5 / 0.3**0.5),
}


class ChainDenoiser(Denoiser):
    """Of a process on the grid with the transition probabilities `T`, `(G, G)`, that begins at zero."""

    T: ArrayLike

    @property
    def shape(self) -> tuple[int, ...]:
        return (LENGTH,)

    def __call__(self, x_t, sigma):
        log_seen = -((x_t[:, None] - jnp.asarray(GRID, x_t.dtype)) ** 2) / (2 * sigma**2)
        p, _ = marginals(jnp.asarray(self.T, x_t.dtype), jnp.exp(log_seen - log_seen.max(1, keepdims=True)), jnp)
        return p @ jnp.asarray(GRID, x_t.dtype)


def marginals(T, seen, xp):
    """The marginals of a chain whose values are seen with likelihoods `(N, G)`, and the messages back."""
    back = [xp.ones(VALUES, seen.dtype)]
    for i in range(LENGTH - 1, 0, -1):
        message = T @ (seen[i] * back[0])
        back.insert(0, message / message.max())
    ahead, found = T[VALUES // 2], []
    for i in range(LENGTH):
        ahead = ahead * seen[i]
        ahead = ahead / ahead.sum()
        p = ahead * back[i]
        found.append(p / p.sum())
        ahead = ahead @ T
    return xp.stack(found), back


def draw(rng, T, seen, n):
    """Draws of the chain given likelihoods, `(n, N)`."""
    _, back = marginals(T, seen, np)
    at, x = np.full(n, VALUES // 2), []
    for i in range(LENGTH):
        p = T[at] * seen[i] * back[i]
        at = (p.cumsum(1) > rng.random((n, 1)) * p.sum(1, keepdims=True)).argmax(1)
        x.append(GRID[at])
    return np.stack(x, 1)


def transitions(family: str) -> np.ndarray:
    """Probabilities of the increments, row by row."""
    T = INCREMENTS[family].pdf(GRID[None] - GRID[:, None]) * (GRID[1] - GRID[0])
    T = 0.3 * T + 0.7 * np.eye(VALUES) if family == "jumps" else T
    return T / T.sum(1, keepdims=True)


def main() -> None:
    """Measures everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("observations", 32), ("draws", 32), ("evaluations", 100)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--families", nargs="+", default=["laplace", "jumps"])
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    begin, n, draws = time.process_time(), arguments.observations, arguments.draws
    mask = (np.arange(LENGTH) % 3 == 0).astype(np.float32)
    columns = ["increments", "method", "evaluations per draw", "CPU ms per draw", "gap of the mean (%)"]
    columns += ["in 50 %", "in 90 %", "std over exact"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for family in arguments.families:
        rng, T = np.random.default_rng(0), transitions(family)
        x = draw(rng, T, np.ones((LENGTH, VALUES)), n)
        y = (mask * (x + NOISE * rng.normal(size=x.shape))).astype(np.float32)
        seen = np.exp(-mask[:, None] * (y[:, :, None] - GRID) ** 2 / 2 / NOISE**2)
        p = np.stack([marginals(T, s, np)[0] for s in seen])
        mean = p @ GRID
        variance = (p @ GRID**2 - mean**2).mean()
        exact = np.stack([draw(rng, T, s, draws) for s in seen], 1)
        prior = DenoiserPrior(ChainDenoiser(T.astype(np.float32)), Schedule(0.02, 20.0), Scaling())
        view = View(y, {"x": Mask(mask)}, NOISE).bind({"x": (LENGTH,)})
        lines.append(f"| {family} | exact posterior | | | {_scores(exact, x, mean, variance)} |")
        print(lines[-1], flush=True)
        for name, settings in SETTINGS.items():
            if not re.search(arguments.only, name) or name in (
                "opc",
                "jfps",
                "tds, opc",
            ):  # of which no covariance is known
                continue

            def bind(method, view=view, prior=prior):
                return method.bind(view, {"x": prior}, key=jax.random.key(0))

            method = counted(settings, arguments.evaluations, bind)
            if method is None:
                continue
            tiled = view.select(np.tile(np.arange(n), draws))
            bound = bind(method.model_copy(update={"batch": len(tiled)})).on(tiled)
            bound.draw(observation_keys(jax.random.key(1), len(tiled)))
            start = time.process_time()
            drawn = bound.draw(observation_keys(jax.random.key(2), len(tiled)))
            seconds = (time.process_time() - start) / len(tiled)
            found = drawn.samples["x"].reshape(draws, n, LENGTH)
            scores = _scores(found, x, mean, variance)
            lines.append(f"| {family} | {name} | {drawn.cost.total} | {1e3 * seconds:.2f} | {scores} |")
            print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
            jax.clear_caches()
    (arguments.out / "levy_table.inc").write_text("\n".join(lines) + "\n")


def _scores(found: np.ndarray, x: np.ndarray, mean: np.ndarray, variance: float) -> str:
    """Of draws `(draws, n, N)`: the gap of their mean, the shares of truths in their intervals, their width."""
    own = found.var(axis=0, ddof=1).mean()
    gap = ((found.mean(0) - mean) ** 2).mean() - own / len(found)
    ranks = (found < x).mean(0) + (found == x).mean(0) / 2
    inside = [np.mean(np.abs(ranks - 0.5) <= share / 2) for share in (0.5, 0.9)]
    return f"{100 * gap / variance:.1f} | {100 * inside[0]:.0f} | {100 * inside[1]:.0f} | {(own / variance) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
