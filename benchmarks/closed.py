"""The closed-form stages: laps against scikit-learn's, and what acceleration and the dual save.

    python benchmarks/closed.py [scikit ...]      # all parts without arguments

CPU seconds are those of the process (`time.process_time`), the better of three runs; "first" is the first run of the
process, which compiles.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np


def scikit(n: int = 4096, d: int = 8, k: int = 8, laps: int = 10) -> None:
    """EM of a mixture of Gaussians on data that show everything, beside scikit-learn's from the same start."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    from dichroic.algebra import Components
    from dichroic.closed.components import _update
    from dichroic.closed.routes import bind_components
    from dichroic.problem import Problem, Source, View

    rng, std = np.random.default_rng(0), 1e-4
    labels, factors = rng.integers(k, size=n), 0.5 * rng.normal(size=(k, d, d))
    x = 3 * rng.normal(size=(k, d))[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n, d)))
    start = Components(np.full(k, 1 / k), x[rng.choice(n, k, replace=False)], np.tile(np.cov(x.T), (k, 1, 1)))
    view = Problem({"x": Source((d,))}, {"v": View(x, {"x": 1.0}, std)}).views["v"]

    def ours() -> float:
        bound, mixture = bind_components(view, {"x": (d,)}), start
        assert bound is not None
        for _ in range(laps):
            mixture = _update(mixture, bound.statistics({"x": mixture})[1]["x"], 1e-12, start)[0]
        return bound.log_likelihood({"x": mixture}).mean() - d * np.log(std)

    def theirs() -> float:
        found = GaussianMixture(
            k,
            max_iter=laps,
            tol=0,
            reg_covar=0,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=np.linalg.inv(start.covariances),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return found.fit(x).score(x)

    (first, here, value), (_, there, reference) = timed(ours), timed(theirs)
    print(f"{laps} laps, {k} components, {n:,} observations of {d} numbers, all of them seen")
    print(
        f"  dichroic {here:.3f} CPU s (first {first:.2f}), scikit-learn {there:.3f}: {here / there:.1f} times", end=""
    )
    print(f" (first {first / there:.1f}); log-likelihoods per observation differ by {abs(value - reference):.1e}")


def crawl(n: int = 3000, laps: int = 1000) -> None:
    """Laps of plain EM and accelerated ones, where plain EM crawls."""
    from dichroic.closed import GaussianConfig, accelerate, gaussian_em

    problem = crawling(n)
    memory = accelerate._MEMORY
    curves = {}
    for name, kept, most in (("plain", 1, laps), ("accelerated", memory, laps // 10)):
        accelerate._MEMORY = kept  # a step that looks back on a single lap is a plain one
        begin = time.process_time()
        curves[name] = gaussian_em(problem, GaussianConfig(laps=most, tolerance=1e-300)).log_likelihood
        shown = [k for k in (10, 30, 100, 300, 1000) if k <= most]
        values = ", ".join(f"{k}: {curves[name][min(k, len(curves[name])) - 1]:.6f}" for k in shown)
        seconds = (time.process_time() - begin) / len(curves[name])
        print(f"  {name:<12} {values}   ({1000 * seconds:.0f} CPU ms a lap)", flush=True)
    accelerate._MEMORY = memory
    reached = np.flatnonzero(np.asarray(curves["accelerated"]) >= curves["plain"][-1])
    print(f"  {laps} plain laps are reached after {reached[0] + 1 if len(reached) else 'more'} accelerated ones")


def crawling(n: int, sizes: tuple[int, int] = (35, 24), data: int = 12, seed: int = 0):
    """Two sources through dense, per-sample and masked operators, `n` observations of each kind."""
    from dichroic.operators import Dense, PerSample
    from dichroic.problem import Problem, Source, View

    rng, std = np.random.default_rng(seed), 0.1
    shapes = dict(zip("ab", sizes, strict=True))
    bases = {s: np.linalg.qr(rng.normal(size=(d, d)))[0] for s, d in shapes.items()}
    roots = {s: bases[s] * np.exp(-0.06 * k * np.arange(d)) for (s, d), k in zip(shapes.items(), (1, 2), strict=True)}
    means = {s: rng.normal(size=d) for s, d in shapes.items()}

    def draw(s: str) -> np.ndarray:
        return means[s] + np.sqrt(2) * rng.normal(size=(n, shapes[s])) @ roots[s].T

    def noisy(x: np.ndarray) -> np.ndarray:
        return x + std * rng.normal(size=x.shape)

    A = {s: rng.normal(size=(data, d)) / np.sqrt(d) for s, d in shapes.items()}
    B = {s: rng.normal(size=(n, data, d)) / np.sqrt(d) for s, d in shapes.items()}
    seen = rng.random((n, shapes["a"])) < 0.4
    seen[:, 0] |= ~seen.any(1)
    dense = noisy(np.sum([draw(s) @ A[s].T for s in shapes], axis=0))
    own = noisy(np.sum([np.einsum("nij,nj->ni", B[s], draw(s)) for s in shapes], axis=0))
    views = {
        "dense": View(dense, {s: Dense(A[s]) for s in shapes}, std),
        "own": View(own, {s: PerSample(Dense(B[s])) for s in shapes}, std),
        "masked": View(np.where(seen, noisy(draw("a")), np.nan), {"a": 1.0}, std),
    }
    return Problem({s: Source((d,)) for s, d in shapes.items()}, views)


def timed(function: Callable[[], float]) -> tuple[float, float, float]:
    """CPU seconds of the first run and of the best of three more, and what the function returns."""
    seconds, value = [], 0.0
    for _ in range(4):
        begin = time.process_time()
        value = function()
        seconds.append(time.process_time() - begin)
    return seconds[0], min(seconds[1:]), value


PARTS = {"scikit": scikit, "crawl": crawl}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which (all of them)")
    for name in parser.parse_args().parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
