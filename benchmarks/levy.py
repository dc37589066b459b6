"""One-dimensional Levy processes: how far posterior means and intervals are from the exact ones, method by method.

    python benchmarks/levy.py [--observations 16] [--evaluations 100] [--families gauss laplace student jumps]
        [--operators identity convolution subsampled fourier two] [--only WORDS] [--out docs/benchmarks]

A process of 16 steps, whose increments are normal, Laplacian, Student's t with three degrees of freedom or seldom (3 of
10) and Laplacian (jumps), is seen entry by entry, blurred, at every third entry or in half of its waves; or it is one
of two, the other smooth (normal increments of half the width), of which the sum is seen and, blurred, the difference.
The noise is 0.2.

The denoiser is exact at any noise level, by messages along the chain of values on a fine grid. The posterior is exact
for any operator, by Gibbs sampling of Gaussian scale mixtures: given its scales a process is Gaussian. Of every method:
the squared distance of the mean of its draws to the exact mean, less what so few draws would miss anyway, in per cent
of the exact variance; what share of the exact posterior lies in its intervals of 50 and 90 %, which is how often they
hold the truth; and the width of its draws. Intervals reach from one of 39 draws to another, and hold 50 and 90 % of
what is drawn alike, exactly. Jumps leave values where nothing has happened: a uniform number of the grid's width is
added to draws and truths before they are ranked.
"""

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from dichroic.diffusion import Denoiser, DenoiserPrior, GaussianDenoiser, Scaling, Schedule
from dichroic.operators import Dense
from dichroic.posterior import observation_keys, read_method
from dichroic.problem import View
from posterior_methods import SETTINGS, counted

LENGTH, VALUES, EDGE, NOISE, DRAWS = 16, 73, 3.6, 0.2, 39
GRID = np.linspace(-EDGE, EDGE, VALUES)
WIDTH = (1 / (LENGTH + 1) * 2) ** 0.5  # of an increment: the process then has a mean variance of one
SELDOM = 0.3
INCREMENTS = {
    "gauss": stats.norm(scale=WIDTH),
    "laplace": stats.laplace(scale=WIDTH / 2**0.5),
    "student": stats.t(df=3, scale=WIDTH / 3**0.5),
    "jumps": stats.laplace(scale=WIDTH / 2**0.5 / SELDOM**0.5),
    "smooth": stats.norm(scale=WIDTH / 2),
}
SUM = np.tril(np.ones((LENGTH, LENGTH)))  # of increments
CHAINS, BURN, SWEEPS, KEEP = 8, 100, 400, 4  # of the Gibbs sampler, of an observation


class ChainDenoiser(Denoiser):
    """Of a process on the grid with the transition probabilities `T`, `(G, G)`, that begins at zero; `variance` is that
    of its increments.
    """

    T: ArrayLike
    variance: ArrayLike

    @property
    def shape(self) -> tuple[int, ...]:
        return (LENGTH,)

    def __call__(self, x_t, sigma):
        log_seen = -((x_t[:, None] - jnp.asarray(GRID, x_t.dtype)) ** 2) / (2 * sigma**2)
        p = marginals(jnp.asarray(self.T, x_t.dtype), jnp.exp(log_seen - log_seen.max(1, keepdims=True)), jnp)
        return p @ jnp.asarray(GRID, x_t.dtype)

    def gaussian(self) -> GaussianDenoiser:
        values, basis = np.linalg.eigh(SUM @ SUM.T)
        return GaussianDenoiser(
            jnp.zeros(LENGTH), jnp.asarray(basis, jnp.float32), self.variance * jnp.asarray(values, jnp.float32),
            jnp.zeros(()),
        )  # fmt: skip

    def moments_given(self, sigma):
        return self.gaussian().moments_given(sigma)


def marginals(T, seen, xp):
    """The marginals of a chain whose values are seen with likelihoods `(N, G)`."""
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
    return xp.stack(found)


def transitions(family: str) -> np.ndarray:
    """Probabilities of the increments, row by row."""
    T = INCREMENTS[family].pdf(GRID[None] - GRID[:, None]) * (GRID[1] - GRID[0])
    T = SELDOM * T + (1 - SELDOM) * np.eye(VALUES) if family == "jumps" else T
    return T / T.sum(1, keepdims=True)


def increments(family: str, rng, n: int) -> np.ndarray:
    """`(n, N)` of them, of processes that keep well within the grid."""
    found = np.zeros((0, LENGTH))
    while len(found) < n:
        u = INCREMENTS[family].rvs(size=(2 * n, LENGTH), random_state=rng)
        u = u * (rng.random(u.shape) < SELDOM) if family == "jumps" else u
        found = np.concatenate([found, u[np.abs(u @ SUM.T).max(1) < 0.85 * EDGE]])
    return found[:n]


def scales(family: str, u: np.ndarray, on: np.ndarray, rng) -> np.ndarray:
    """Variances given increments; where they are not `on`, those of the prior."""
    law = INCREMENTS[family]
    if family in ("gauss", "smooth"):
        return np.full(u.shape, law.var())
    if family == "student":
        df, s = law.kwds["df"], law.kwds["scale"]
        return (df * s**2 + u**2) / 2 / rng.gamma((df + 1) / 2, size=u.shape)
    b = law.kwds["scale"]
    given = 1 / rng.wald(1 / (b * np.maximum(np.abs(u), 1e-9)), 1 / b**2)
    return np.where(on, given, rng.exponential(2 * b**2, size=u.shape))


@dataclass
class Exact:
    """Draws of the exact posterior, `(n, S, N)`, its mean and its mean variance, of one source."""

    draws: np.ndarray
    mean: np.ndarray
    variance: float


def gibbs(families: list[str], A: list[np.ndarray], y: np.ndarray, rng) -> list[Exact]:
    """The posterior of processes seen as `sum_s A_s x_s` with noise, observation by observation."""
    n, K = len(y), len(families)
    H = np.concatenate([a @ SUM for a in A], axis=1) / NOISE
    data = np.repeat(y / NOISE, CHAINS, axis=0)
    B, m, d = len(data), H.shape[0], H.shape[1]
    seldom = np.concatenate([np.full(LENGTH, f == "jumps") for f in families])
    u, on = np.zeros((B, d)), np.ones((B, d), bool)
    tau = np.concatenate([np.full((B, LENGTH), INCREMENTS[f].var()) for f in families], axis=1)
    kept, means = [], []
    for sweep in range(SWEEPS):
        M = np.linalg.inv(np.eye(m) + np.einsum("ik,bk,jk->bij", H, tau * on, H, optimize=True))
        for k in np.flatnonzero(seldom):  # whether there is a jump, whatever its size
            Mh = M @ H[:, k]
            a, b, t = Mh @ H[:, k], np.einsum("bi,bi->b", Mh, data), tau[:, k]
            rest = np.where(on[:, k], 1 / np.maximum(1 - t * a, 1e-12), 1)
            a, b = a * rest, b * rest
            odds = np.log(SELDOM / (1 - SELDOM)) - np.log1p(t * a) / 2 + t * b**2 / 2 / (1 + t * a)
            new = rng.random(B) < 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
            change = t * (new.astype(float) - on[:, k])
            M = M - (change / (1 + change * (Mh @ H[:, k])))[:, None, None] * Mh[:, :, None] * Mh[:, None, :]
            on[:, k] = new
        v = tau * on
        prior = np.sqrt(v) * rng.normal(size=v.shape)
        for begin, into in ((prior, "draw"), (np.zeros_like(v), "mean")):
            noise = rng.normal(size=data.shape) if into == "draw" else 0.0
            moved = begin + v * (np.einsum("bij,bj->bi", M, data - begin @ H.T - noise) @ H)
            if into == "draw":
                u = moved
            elif sweep >= BURN:
                means.append(moved)
        tau = np.concatenate([
            scales(f, u[:, s], on[:, s], rng) for f, s in zip(families, _slices(K), strict=True)
        ], axis=1)  # fmt: skip
        if sweep >= BURN and sweep % KEEP == 0:
            kept.append(u)
    found = []
    for s in _slices(K):
        x = np.stack(kept)[:, :, s] @ SUM.T
        x = np.swapaxes(x.reshape(-1, n, CHAINS, LENGTH), 0, 1).reshape(n, -1, LENGTH)
        mean = (np.mean(means, axis=0)[:, s] @ SUM.T).reshape(n, CHAINS, LENGTH).mean(1)
        found.append(Exact(x, mean, ((x - mean[:, None]) ** 2).mean()))
    return found


def _slices(K: int) -> list[slice]:
    return [slice(k * LENGTH, (k + 1) * LENGTH) for k in range(K)]


def operators() -> dict[str, list[np.ndarray]]:
    """By name, the matrices of all sources; all of them square, with rows of zeros."""
    i = np.arange(LENGTH)
    kernel = np.exp(-((i[:, None] - i) ** 2) / 2 / 1.5**2)
    kernel /= kernel.sum(1).max()
    waves = np.sqrt(2 / LENGTH) * np.cos(np.pi * (i[None] + 0.5) * i[:, None] / LENGTH)
    waves[0] /= 2**0.5
    seen = (i < 4) | (np.random.default_rng(3).permutation(LENGTH) < 5)
    return {
        "identity": [np.eye(LENGTH)],
        "convolution": [kernel],
        "subsampled": [np.diag((i % 3 == 0).astype(float))],
        "fourier": [seen[:, None] * waves],
        "two": [np.concatenate([np.eye(LENGTH), kernel]), np.concatenate([np.eye(LENGTH), -kernel])],
    }


def main() -> None:
    """Measures everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("observations", 16), ("evaluations", 100)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--families", nargs="+", default=["gauss", "laplace", "student", "jumps"])
    parser.add_argument("--operators", nargs="+", default=list(operators()))
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    begin, n = time.process_time(), arguments.observations
    cases = {(o, f): Case(o, f, n) for o in arguments.operators for f in arguments.families}
    print(f"{time.process_time() - begin:5.0f} s for the exact posteriors", flush=True)
    for (o, f), case in cases.items():
        if o in ("identity", "subsampled"):
            print(f"the grid's gap, {o}, {f}: {case.gap_of_grid():.2f} %", flush=True)
    head = ["seen", "method", "evaluations", "CPU ms per draw", *(f"gap, {f} (%)" for f in arguments.families)]
    head += [f"in 50 and 90 %, {f}" for f in arguments.families] + ["std over exact"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows = {"default": {"kind": "auto"}, "default, 64 steps": {"kind": "auto", "steps": 64}, **SETTINGS}
    for name, settings in rows.items():
        if not re.search(arguments.only, name) or name.startswith(("dps,", "sda,")):
            continue
        for o in arguments.operators:
            some = cases[o, arguments.families[0]]
            method = read_method(settings)
            if not name.startswith("default"):
                method = counted(settings, arguments.evaluations, some.bind)
            if method is None:
                continue
            found = [cases[o, f].scores(method) for f in arguments.families]
            cost, seconds = found[0][0], min(s[1] for s in found)  # the first one compiles
            gaps, inside = [f"{s[2]:.1f}" for s in found], [f"{s[3]:.0f}, {s[4]:.0f}" for s in found]
            width = np.mean([s[5] for s in found])
            cells = [o, name, str(cost), f"{1e3 * seconds:.2f}", *gaps, *inside, f"{width:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
            print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
            (arguments.out / "levy_table.inc").write_text("\n".join(lines[:2] + sorted(lines[2:], key=_order)) + "\n")
        jax.clear_caches()


def _order(line: str) -> int:
    return list(operators()).index(line.split(" | ")[0].strip("| "))


class Case:
    """Observations of one operator and family, with their exact posterior."""

    def __init__(self, operator: str, family: str, n: int):
        rng = np.random.default_rng(0)
        self.n, self.A = n, operators()[operator]
        self.families = [family, "smooth"][: len(self.A)]
        x = [increments(f, rng, n) @ SUM.T for f in self.families]
        self.rows = np.any([a.any(1) for a in self.A], axis=0)
        y = sum(v @ a.T for v, a in zip(x, self.A, strict=True))
        self.y = self.rows * (y + NOISE * rng.normal(size=y.shape))
        self.exact = gibbs(self.families, self.A, self.y, rng)
        mixing = {s: Dense(a.astype(np.float32)) for s, a in zip("ab", self.A, strict=False)}
        self.priors = {
            s: DenoiserPrior(
                ChainDenoiser(transitions(f).astype(np.float32), np.float32(INCREMENTS[f].var())),
                Schedule(0.02, 20.0),
                Scaling(),
            )
            for s, f in zip("ab", self.families, strict=False)
        }
        self.view = View(self.y.astype(np.float32), mixing, NOISE).bind({s: (LENGTH,) for s in self.priors})

    def gap_of_grid(self) -> float:
        """What the exact mean differs by between the grid and the Gibbs sampler, in per cent of the variance."""
        seen = np.where(self.rows[:, None], np.exp(-((self.y[:, :, None] - GRID) ** 2) / 2 / NOISE**2), 1)
        mean = np.stack([marginals(transitions(self.families[0]), s, np) for s in seen]) @ GRID
        return 100 * ((mean - self.exact[0].mean) ** 2).mean() / self.exact[0].variance

    def bind(self, method):
        return method.bind(self.view, self.priors, key=jax.random.key(0))

    def scores(self, method) -> tuple[int, float, float, float, float, float]:
        """Evaluations and seconds of a draw, and, as means over the sources, gap, shares of the exact posterior in the
        intervals and width.
        """
        tiled = self.view.select(np.tile(np.arange(self.n), DRAWS))
        bound = self.bind(method.model_copy(update={"batch": len(tiled)})).on(tiled)
        start = time.process_time()
        drawn = bound.draw(observation_keys(jax.random.key(2), len(tiled)))
        seconds = (time.process_time() - start) / len(tiled)
        rng, found = np.random.default_rng(1), []
        for s, exact in zip(self.priors, self.exact, strict=True):
            x = drawn.samples[s].reshape(DRAWS, self.n, LENGTH)
            own = x.var(axis=0, ddof=1).mean()
            gap = ((x.mean(0) - exact.mean) ** 2).mean() - own / DRAWS
            step = GRID[1] - GRID[0]
            x, z = (v + step * (rng.random(v.shape) - 0.5) for v in (x, np.swapaxes(exact.draws, 0, 1)))
            ranks = (np.sort(x, axis=0)[:, None] < z).sum(0)
            inside = [np.mean((ranks >= a) & (ranks < DRAWS + 1 - a)) for a in (10, 2)]
            found.append((gap / exact.variance, *inside, (own / exact.variance) ** 0.5))
        gap, half, most, width = np.mean(found, axis=0)
        return drawn.cost.total, seconds, 100 * gap, 100 * half, 100 * most, width


if __name__ == "__main__":
    main()
