"""Does the burden of proof let good priors through, and only those?

    python benchmarks/proof.py faults [--problems manifolds digits] [--repeats 3] [--observations 256 1024]
    python benchmarks/proof.py gaussians [--seeds 20] [--observations 1024] [--laps 1]

`faults`: the wrong priors of `benchmarks/law.py` are compared with the true ones on held-out observations, in the view
of both sources. Prints where on the way from the wrong to the true prior the observations are (1 would be right), by
how many standard errors they are nearer to the true one, by how many simulations of the two are told apart, and how
often the true one would have been let through.

`gaussians`: two correlated Gaussian sources, contrastive, where networks cannot help, for the closed form is of the
truth's kind. Prints for every seed which prior of every source is used and the PSNR of the second source's mean, with
and without networks, and in how many seeds the closed forms were kept.
"""

import argparse
import tempfile
import time

import jax
import numpy as np

from dichroic import FitConfig, Problem, Source, View, fit
from dichroic.diagnose import Budget, Case, nearer
from law import FAULTS, SETTINGS, Believed, wrong


def faults(problems: list[str], repeats: int, observations: list[int]) -> None:
    """Wrong priors against the true ones."""
    for problem in problems:
        setting = SETTINGS[problem]()
        for n in observations:
            print(f"\n{problem}, {n} held-out observations of both sources, {repeats} repetitions")
            print(f"{'wrong prior':32s}{'place':>8s}{'nearer':>8s}{'apart':>8s}{'let through':>13s}{'CPU s':>8s}")
            for fault in FAULTS:
                begin, rows = time.process_time(), []
                for seed in range(repeats):
                    held_out = setting.observe(np.random.default_rng([seed, 17]), n)
                    shapes = dict.fromkeys(setting.names, setting.shape)
                    a, b = (Believed(wrong(setting, f), shapes) for f in (fault, "none"))
                    view = list(held_out.views)[1]
                    found = nearer(Case(held_out, a, Budget(), jax.random.key(seed)), b, view)
                    error, apart = max(found.error, 1e-12), max(found.apart_error, 1e-12)
                    rows.append((found.place, found.gain / error, found.apart / apart, found.better))
                place, z, apart, better = np.mean(rows, axis=0)
                seconds = (time.process_time() - begin) / repeats
                print(f"{fault:32s}{place:8.2f}{z:8.1f}{apart:8.1f}{better:13.2f}{seconds:8.1f}", flush=True)


def sources(seed: int, d: int, n: int) -> tuple[Problem, Problem]:
    """The first alone in one view, both in the other."""
    rng = np.random.default_rng(seed)
    roots = {s: rng.normal(size=(d, d)) / np.sqrt(d) for s in ("sky", "star")}

    def draw(s: str, count: int) -> np.ndarray:
        return (rng.normal(size=(count, d)) @ roots[s].T).astype(np.float32)

    def make(count: int) -> Problem:
        alone, sky, star = draw("sky", count), draw("sky", count), draw("star", count)
        noise = 0.1 * rng.normal(size=(2, count, d)).astype(np.float32)
        views = {
            "empty": View(alone + noise[0], {"sky": 1.0}, 0.1),
            "both": View(sky + star + noise[1], {"sky": 1.0, "star": 1.0}, 0.1, truth={"star": star}),
        }
        return Problem({s: Source((d,)) for s in roots}, views)

    return make(n), make(max(n // 4, 256))


def gaussians(seeds: int, observations: int, laps: int) -> None:
    """Two Gaussian sources."""
    kept = 0
    for seed in range(seeds):
        problem, held_out = sources(seed, 4, observations)
        truth, begin, found = held_out.views["both"].truth["star"], time.process_time(), {}
        for n in (laps, 0):
            with tempfile.TemporaryDirectory() as folder:
                run = fit(problem, FitConfig(seed=seed, laps=n, mean_share=1.0), out=f"{folder}/run", held_out=held_out)
                e = run.separate(held_out, draws=8, share=1.0).mean("both", "star") - truth
                found[n] = 10 * np.log10(np.ptp(truth) ** 2 / (e**2).mean())
                if n:
                    choices = run.choices.values()
        kept += all(c.prior == "closed form" for c in choices)
        seconds = time.process_time() - begin
        used = "; ".join(c.sentence for c in choices)
        print(f"seed {seed}: {found[laps]:.2f} dB, closed form {found[0]:.2f}; {seconds:.0f} s; {used}", flush=True)
    print(f"the closed forms were kept in {kept} of {seeds}")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["faults", "gaussians"])
    parser.add_argument("--problems", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--observations", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--laps", type=int, default=1)
    a = parser.parse_args()
    if a.what == "faults":
        faults(a.problems, a.repeats, a.observations or [256, 1024])
    else:
        gaussians(a.seeds, (a.observations or [1024])[0], a.laps)


if __name__ == "__main__":
    main()
