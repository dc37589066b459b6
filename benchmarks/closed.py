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
            mixture = _update(mixture, bound.statistics({"x": mixture})[1]["x"], 1e-12, start)
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


def timed(function: Callable[[], float]) -> tuple[float, float, float]:
    """CPU seconds of the first run and of the best of three more, and what the function returns."""
    seconds, value = [], 0.0
    for _ in range(4):
        begin = time.process_time()
        value = function()
        seconds.append(time.process_time() - begin)
    return seconds[0], min(seconds[1:]), value


PARTS = {"scikit": scikit}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which (all of them)")
    for name in parser.parse_args().parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
