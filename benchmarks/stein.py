"""What does the check `stein` see? Faults of draws from exact posteriors of two mixtures of three Gaussians.

    python benchmarks/stein.py [--repeats 5] [--observations 64] [--draws 32]

Two sources of six numbers, each three Gaussians; one view of both, four numbers observed through a matrix of each
observation. Draws are exact but for the fault. Prints, over the repetitions, in how many the check is not green, its
discrepancy, and the mean discrepancy of an observation over its standard error; and chi-square of the residuals.
"""

import argparse
import time
from dataclasses import dataclass

import jax
import numpy as np

from dichroic.diagnose import Budget, run_panel
from dichroic.diagnose.white import WhiteView, generator
from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View

D, KINDS, ROWS, NOISE = 6, 3, 4, 0.3
rng = np.random.default_rng(0)
MEANS = {s: 1.5 * rng.normal(size=(KINDS, D)) for s in "ab"}
VARIANCES = {s: rng.uniform(0.05, 0.4, size=(KINDS, D)) for s in "ab"}
FAULTS = (
    "none",
    "narrow by 0.6",
    "wide by 1.5",
    "mean off by 0.3",
    "mean off by 0.3, null space",
    "modes dropped",
    "weights wrong",
)


@dataclass(frozen=True)
class Exact:
    """The priors, and their posterior, with a fault."""

    fault: str

    @property
    def shapes(self):
        return {s: (D,) for s in "ab"}

    def sample(self, source, n, key):
        rng = generator(key)
        kind = rng.integers(KINDS, size=n)
        return MEANS[source][kind] + np.sqrt(VARIANCES[source][kind]) * rng.normal(size=(n, D))

    def score(self, source, x):
        r = np.asarray(x, float)[:, None] - MEANS[source]
        log = -0.5 * np.sum(r**2 / VARIANCES[source] + np.log(VARIANCES[source]), axis=2)
        w = np.exp(log - log.max(1, keepdims=True))
        return -np.einsum("nk,nkd->nd", w / w.sum(1, keepdims=True), r / VARIANCES[source])

    def given(self, name, view):
        white = WhiteView(view, self.shapes)
        A, y, n = white.matrices(), white.y, len(view)
        pairs = [(i, j) for i in range(KINDS) for j in range(KINDS)]
        mu = np.array([np.r_[MEANS["a"][i], MEANS["b"][j]] for i, j in pairs])
        v = np.array([np.r_[VARIANCES["a"][i], VARIANCES["b"][j]] for i, j in pairs])
        P = np.linalg.inv(np.einsum("nmi,nmj->nij", A, A)[:, None] + np.eye(2 * D) / v[:, None, :])
        m = np.einsum("nkij,nkj->nki", P, np.einsum("nmi,nm->ni", A, y)[:, None] + mu / v)
        S = np.einsum("nmi,ki,npi->nkmp", A, v, A) + np.eye(A.shape[1])
        r = y[:, None] - np.einsum("nmi,ki->nkm", A, mu)
        log = -0.5 * (np.einsum("nkm,nkmp,nkp->nk", r, np.linalg.inv(S), r) + np.linalg.slogdet(S)[1])
        w = np.exp(log - log.max(1, keepdims=True))
        w /= w.sum(1, keepdims=True)
        if self.fault == "modes dropped":
            w = np.where(np.arange(len(pairs)) == w.argmax(1)[:, None], 1.0, 0.0)
        if self.fault == "weights wrong":
            w = np.sqrt(w) / np.sqrt(w).sum(1, keepdims=True)
        L = np.linalg.cholesky(P)
        null = np.linalg.svd(A)[2][:, A.shape[1] :]
        at = np.arange(n)

        def draw(key):
            rng = generator(key)
            k = (rng.uniform(size=(n, 1)) > np.cumsum(w, axis=1)).sum(1).clip(max=len(pairs) - 1)
            z = np.einsum("nij,nj->ni", L[at, k], rng.normal(size=(n, 2 * D)))
            z *= {"narrow by 0.6": 0.6, "wide by 1.5": 1.5}.get(self.fault, 1.0)
            x = m[at, k] + z
            if self.fault.startswith("mean off"):
                shift = 0.3 * np.sqrt(np.einsum("nii->ni", P[at, k]))
                if self.fault.endswith("null space"):
                    shift = np.einsum("nri,nrj,nj->ni", null, null, shift)
                x += shift
            return {"a": x[:, :D], "b": x[:, D:]}

        return draw


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--observations", type=int, default=64)
    parser.add_argument("--draws", type=int, default=32)
    given = parser.parse_args()
    budget = Budget(stein=(given.observations, given.draws))
    for fault in FAULTS:
        loud, value, z, chi, start = 0, [], [], [], time.process_time()
        for seed in range(given.repeats):
            model = Exact(fault)
            truth = {
                s: Exact("none").sample(s, given.observations, jax.random.key(10 * seed + i))
                for i, s in enumerate("ab")
            }
            rng = np.random.default_rng(seed)
            A = rng.normal(size=(given.observations, ROWS, 2 * D)) / (2 * D) ** 0.5
            y = np.einsum("nmi,ni->nm", A, np.concatenate([truth[s] for s in "ab"], 1)) + NOISE * rng.normal(
                size=(len(A), ROWS)
            )
            mixing = {s: PerSample(Dense(A[..., i * D : (i + 1) * D].astype(np.float32))) for i, s in enumerate("ab")}
            problem = Problem({s: Source((D,)) for s in "ab"}, {"mix": View(y.astype(np.float32), mixing, NOISE)})
            found = run_panel(problem, model, key=jax.random.key(seed), budget=budget, checks=["stein", "chi_square"])
            u = found["stein"].arrays["mix/discrepancy"]
            loud += found["stein"].level != "green"
            value.append(found["stein"].parts[0].value)
            z.append(u.mean() / u.std() * len(u) ** 0.5)
            chi.append(found["chi_square"].parts[0].value)
        print(
            f"{fault:30s} not green {loud}/{given.repeats}  discrepancy {np.mean(value):.3f} ({min(value):.3f} to "
            f"{max(value):.3f})  z {min(z):.1f} to {max(z):.1f}  chi-square {np.mean(chi):.3f}  "
            f"{(time.process_time() - start) / given.repeats:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
