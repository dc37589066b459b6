"""Identifiability of designs: conditions of order 1 and 2, and the time they take.

    python benchmarks/design.py [--observations 65536] [--images]

The designs of the specification: two sources of five numbers, two views, each observation three random unit rows. The
published numbers come from 4,096 draws per view; they are printed beside those from the same draws, and beside those
from the number of observations asked for. With `--images`, designs of 128 x 128 pixels with masks and blurs follow.
Times are of single runs, compilation included; on a machine with other work, processor time says more.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from dichroic import Convolve, Dense, Mask, PerSample, Problem, Source, View
from dichroic.design import DesignReport, check_design

# kind, amplitude of the other source, and the published conditions
DESIGNS = [
    ("contrastive", 0.0, "2.7", "3.8"),
    ("shared", 0.5, "3.1", "2.5"),
    ("shared", 0.9, "19", "14"),
    ("shared", 0.99, "204", "146"),
    ("shared", 1.0, "inf", "inf"),
    ("independent", 1.0, "1.04", "2.4"),
]


def unit_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random unit rows."""
    A = rng.normal(size=shape)
    return A / np.linalg.norm(A, axis=-1, keepdims=True)


def matrices(kind: str, f: float, n: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """The operators of both views, drawn in the order of the published script."""
    views = []
    for v in range(2):
        A = unit_rows(rng, n, 2, 3, 5) if kind == "independent" else np.stack([unit_rows(rng, n, 3, 5)] * 2, 1)
        amplitudes = [1.0, float(v)] if kind == "contrastive" else [1.0 if v == s else f for s in range(2)]
        views.append({f"s{s}": a * A[:, s] for s, a in enumerate(amplitudes) if a})
    return views


def published_draws() -> Iterator[list[dict[str, np.ndarray]]]:
    """The draws behind the published table: one generator for all designs, and for what it was used for in between."""
    rng = np.random.default_rng(0)
    order = [("contrastive", 0.0), *(("shared", f) for f in (0.1, 0.5, 0.9, 0.99, 1.0))]
    order += [("independent", f) for f in (0.5, 0.9, 1.0)]
    wanted = {(kind, f) for kind, f, *_ in DESIGNS}
    for kind, f in order:
        drawn = matrices(kind, f, 4096, rng)
        if (kind, f) in wanted:
            yield drawn
        matrices(kind, f, 8192, rng)  # the script goes on to estimate means: matrices, sources and noise
        for _ in range(4):
            rng.uniform(size=8192)
        for _ in range(2):
            rng.normal(size=(8192, 3))
        for _ in range(2):
            rng.uniform(size=400_000)


def problem_of(views: list[dict[str, np.ndarray]]) -> Problem:
    """The problem with these matrices, and data that does not matter."""
    rng = np.random.default_rng(1)
    sources = {s: Source((5,)) for s in ("s0", "s1")}
    made = {}
    for v, mixing in enumerate(views):
        n = len(next(iter(mixing.values())))
        made[f"v{v}"] = View(rng.normal(size=(n, 3)), {s: PerSample(Dense(A)) for s, A in mixing.items()}, 0.1)
    return Problem(sources, made)


def images() -> Iterator[tuple[str, Problem]]:
    """Designs of 128 x 128 pixels, 256 observations per view."""
    rng, shape, n = np.random.default_rng(0), (128, 128, 1), 256
    profile = np.exp(-0.5 * (np.arange(-4, 5) / rng.uniform(1, 2, n)[:, None]) ** 2)
    kernels = profile[:, :, None] * profile[:, None, :] / profile.sum(1)[:, None, None] ** 2
    one = kernels[0]
    seen, other = rng.random((n, *shape)) < 0.7, rng.random((n, *shape)) < 0.9
    hole = other.copy()
    hole[:, 40:44, 50:60] = False
    blank = View(rng.normal(size=(n, *shape)).astype(np.float32), {"sky": 1.0}, 0.1, observed=seen)

    def problem(mixing, observed):
        y = rng.normal(size=(n, *shape)).astype(np.float32)
        target = View(y, mixing, PerSample(rng.uniform(0.05, 0.2, n)), observed=observed)
        return Problem({"sky": Source(shape), "galaxy": Source(shape)}, {"blank": blank, "target": target})

    flat = rng.uniform(0.5, 1.5, shape)
    yield "masks, flat field", problem({"sky": 1.0, "galaxy": Mask(flat)}, other)
    yield "masks with a hole", problem({"sky": 1.0, "galaxy": 1.0}, hole)
    yield "one blur, masks", problem({"sky": Convolve(one, shape), "galaxy": Convolve(one, shape)}, other)
    each = PerSample(Convolve(kernels, shape))
    yield "a blur per observation, masks", problem({"sky": each, "galaxy": each}, other)


def timed(problem: Problem) -> tuple[DesignReport, float, float]:
    """The report, the seconds it took, and the seconds of processor time."""
    begin, processor = time.perf_counter(), time.process_time()
    found = check_design(problem)
    assert found is not None
    return found, time.perf_counter() - begin, time.process_time() - processor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=65_536, help="per view")
    parser.add_argument("--images", action="store_true", help="also designs of 128 x 128 pixels")
    arguments = parser.parse_args()
    n, rng = arguments.observations, np.random.default_rng(2)
    print(f"{'':30}|{'published':^15}|{'same draws':^17}|{f'{n:,} observations':^33}")
    columns = f"|{'means':>7}{'cov.':>8}|{'means':>8}{'cov.':>9}|{'means':>8}{'cov.':>8}{'seconds':>9}{'CPU s':>8}"
    print(f"{'design':22}{'other x':>8}{columns}")
    for (kind, f, first, second), draws in zip(DESIGNS, published_draws(), strict=True):
        same = check_design(problem_of(draws), contraction=False)
        problem = problem_of(matrices(kind, f, n, rng))
        found, seconds, processor = timed(problem)
        assert same is not None
        numbers = [same.means.condition, same.covariances.condition, found.means.condition, found.covariances.condition]
        row = f"{numbers[0]:8.4g}{numbers[1]:9.4g}|{numbers[2]:8.4g}{numbers[3]:8.4g}{seconds:9.2f}{processor:8.2f}"
        print(f"{kind:22}{f:8.2f}|{first:>7}{second:>8}|{row}", flush=True)
    for name, problem in images() if arguments.images else ():
        found, seconds, processor = timed(problem)
        bound = "" if found.means.exact else ">"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{name:30}| means {bound}{found.means.condition:.3g}, covariances {found.covariances.condition:.3g}, "
            f"undetermined {found.means.null}, {seconds:.1f} s, {processor:.1f} CPU s, at most {memory:.1f} GiB, "
            f"{found.means.route}, from {[counts[1] for counts in found.observations.values()]} observations",
            flush=True,
        )


if __name__ == "__main__":
    main()
