"""The angle between the mixing matrices of two views: conditions that the check states, and errors of what is learned.

    python benchmarks/angles.py

Two sources of five numbers with generic covariances, 2,048 observations of each view, noise of 0.1; amplitudes
(cos a, sin a) and (cos b, sin b), whose angles a = 45 - d/2 and b = 45 + d/2 degrees lie apart by d. The error is that
of the covariances that the Gaussian stage finds, relative, mean over sources and eight seeds.
"""

import numpy as np

from dichroic import Problem, Source, View
from dichroic.closed import gaussian_em
from dichroic.design import check_design

D, N, STD, SEEDS = 5, 2048, 0.1, 8


def problem(degrees: float, seed: int) -> tuple[Problem, dict[str, np.ndarray]]:
    """Two views whose amplitudes lie so far apart, and the covariances of the sources."""
    rng = np.random.default_rng(seed)
    C = {s: B @ B.T / D + 0.1 * np.eye(D) for s, B in zip("xz", rng.normal(size=(2, D, D)), strict=True)}
    views = {}
    for name, turned in (("v", -degrees / 2), ("w", degrees / 2)):
        angle = np.pi / 4 + np.deg2rad(turned)
        amplitudes = {"x": float(np.cos(angle)), "z": float(np.sin(angle))}
        x = {s: rng.normal(size=(N, D)) @ np.linalg.cholesky(c).T for s, c in C.items()}
        y = sum(a * x[s] for s, a in amplitudes.items()) + STD * rng.normal(size=(N, D))
        views[name] = View(y.astype(np.float32), {s: a for s, a in amplitudes.items() if abs(a) > 1e-9}, STD)
    return Problem({s: Source((D,)) for s in "xz"}, views), C


def main() -> None:
    for degrees in (90, 60, 40, 20, 10, 5):
        report, errors = check_design(problem(degrees, 0)[0]), []
        for seed in range(SEEDS):
            given, C = problem(degrees, seed)
            for s, found in gaussian_em(given).populations.items():
                S = (found.basis * (found.values - found.rest)) @ found.basis.T + found.rest * np.eye(D)
                errors.append(np.linalg.norm(S - C[s]) / np.linalg.norm(C[s]))
        print(
            f"{degrees} degrees: condition {report.means.condition:.3g} of means, "
            f"{report.covariances.condition_rest:.3g} of covariances; error {np.mean(errors):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
