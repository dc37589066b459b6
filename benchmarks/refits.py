"""Whether exact posteriors are as wide as they should be, as they are and among refits (`gaussian.refits`).

    python benchmarks/refits.py [cells spectra ...] [--seeds 0 1 2] [--refits 8] [--components 1] [--data FOLDER]

Of experiments of `dichroic reproduce` at laptop scale, and of `spectra`, those of woods over soya in the scene *Indian
Pines* of the tutorial (50 of its 200 bands, 125 and 500 pixels a view, other fields held out; `pip install tensorly`),
by the Gaussian stage, or the components stage with at most so many `--components`: the rms error of the posterior mean
of the first target, that over the rms deviation of 39 draws (z), the rms of errors each over its own deviation, and how
much of the truth intervals of 50 and 90 % hold; nothing is cut off at a bound. Without a name: two Gaussian sources of
six numbers, contrastive, noise of 0.3, 20, 40 and 100 observations a view, means over twelve populations. Nothing but
the printing looks at the truth. Seconds are of the CPU.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from dichroic import Problem, Source, View
from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, GaussianConfig, components_em, gaussian_em, gaussian_refits
from dichroic.diffusion import DenoiserPrior, Schedule
from dichroic.metrics import coverage
from dichroic.posterior import ClosedForm
from dichroic.studies.reproduce.experiment import load_experiment
from dichroic.studies.reproduce.generators import generate

_DRAWS, _D, _STD = 39, 6, 0.3


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--refits", type=int, default=8)
    parser.add_argument("--components", type=int, default=1)
    parser.add_argument("--data", type=Path, default=None)
    a = parser.parse_args()
    for name in a.experiments:
        if name == "spectra":
            for n in (125, 500):
                for seed in a.seeds:
                    found = widths(*spectra(n, seed), "woods", a.refits, a.components, seed)
                    show(f"spectra, {n} a view, seed {seed}", found)
            continue
        experiment = load_experiment(name, "laptop")
        target = experiment.targets[0]
        for seed in a.seeds:
            problem, scored = generate(experiment.generator, experiment.arguments, seed, a.data)
            kept, held_out = problem.split(0.1, seed)
            view, truth = scored.views[target.view], np.asarray(scored.views[target.view].truth[target.source])
            found = widths(kept, held_out, view, truth, target.source, a.refits, a.components, seed)
            show(f"{name}, seed {seed}", found)
    for n in () if a.experiments else (20, 40, 100):
        found = [gaussians(n, seed, a.refits) for seed in range(12)]
        show(f"{n} observations a view", {what: np.mean([f[what] for f in found], axis=0) for what in found[0]})


def widths(
    problem: Problem,
    held_out: Problem | None,
    view: View,
    truth: np.ndarray,
    source: str,
    refits: int,
    components: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Error, z, that of every error by itself, coverage of 50 and 90 %, seconds; as they are, and among refits."""
    begin, config = time.process_time(), GaussianConfig(refits=refits)
    fit = gaussian_em(problem, config, seed=seed)
    shapes = {s: x.real_shape for s, x in problem.sources.items()}
    priors = {s: fit.prior(s, shape, Schedule()) for s, shape in shapes.items()}
    if components > 1:
        start = {s: Components.of(p) for s, p in fit.populations.items()}
        settled = components_em(problem, start, ComponentsConfig(components=components), held_out=held_out, seed=seed)
        priors |= {
            s: DenoiserPrior.of(x, shapes[s], Schedule(), priors[s].scaling, {}) for s, x in settled.components.items()
        }
    first = time.process_time() - begin
    again = gaussian_refits(problem, fit, config, seed=seed)
    plain = ClosedForm().bind(view, priors, key=jax.random.key(0))
    others = plain.among([{s: Components.of(p) for s, p in some.items()} for some in again])  # pyright: ignore
    mean, found = plain.mean(), {}
    assert mean is not None
    error = mean[source] - truth
    for what, bound in (("as they are", plain), ("among refits", others)):
        keys = [jax.random.split(jax.random.key(k), len(view)) for k in range(_DRAWS)]
        draws = np.stack([bound.draw(key).samples[source] for key in keys], axis=1)
        variance = np.maximum(draws.var(1, ddof=1), 1e-12)
        own = (_DRAWS - 3) / (_DRAWS - 1) * (error**2 / variance).mean()  # of normal draws, whose variance is guessed
        covered = [coverage(draws, truth, share) for share in (0.5, 0.9)]
        z = ((error**2).mean() / variance.mean()) ** 0.5
        seconds = first if bound is plain else time.process_time() - begin - first
        found[what] = np.array([(error**2).mean() ** 0.5, z, own**0.5, *covered, seconds])
    return found


def spectra(n: int, seed: int) -> tuple[Problem, Problem, View, np.ndarray]:
    """Sums of halves of a pixel of soya and one of woods, and soya alone: to learn from, to choose by, new, truth."""
    spec = find_spec("tensorly")
    assert spec is not None and spec.submodule_search_locations
    folder, rng = Path(spec.submodule_search_locations[0]) / "datasets/data", np.random.default_rng(seed)
    cube = np.load(folder / "Indian_pines_corrected.npy").astype(np.float32)[..., ::4] / 2
    kinds, lower = np.load(folder / "Indian_pines_gt.npy"), np.arange(145)[:, None] >= 72
    noisy = lambda x: (x + 20 * rng.normal(size=x.shape)).astype(np.float32)  # noqa: E731

    def mixed(side: np.ndarray, n: int) -> tuple[View, np.ndarray]:
        soya, woods = (rng.choice(cube[(kinds == kind) & side], n) for kind in (11, 14))
        return View(noisy(soya + woods), {"soya": 1.0, "woods": 1.0}, 20.0), woods

    sources = {s: Source((cube.shape[-1],)) for s in ("soya", "woods")}
    soya = rng.permutation(cube[(kinds == 11) & lower])[:n]
    problem = Problem(sources, {"alone": View(noisy(soya), {"soya": 1.0}, 20.0), "mixed": mixed(lower, n)[0]})
    view, truth = mixed(~lower, 200)
    kept, held_out = problem.split(0.1, seed)
    return kept, held_out, Problem(sources, {"mixed": view}).views["mixed"], truth


def gaussians(n: int, seed: int, refits: int) -> dict[str, np.ndarray]:
    """The same of two Gaussian sources."""
    rng, laws = np.random.default_rng(seed), {}
    for s in "ab":
        A = rng.normal(size=(_D, _D)) / _D**0.5
        laws[s] = rng.normal(size=_D), A @ A.T + 0.1 * np.eye(_D)

    def seen(sources: str, n: int) -> tuple[View, np.ndarray]:
        x = {s: rng.multivariate_normal(*laws[s], n) for s in sources}
        y = sum(x.values()) + _STD * rng.normal(size=(n, _D))
        return View(y, dict.fromkeys(sources, 1.0), _STD), x[sources[-1]]

    sources = {s: Source((_D,)) for s in "ab"}
    problem = Problem(sources, {"alone": seen("a", n)[0], "both": seen("ab", n)[0]})
    view, truth = seen("ab", 200)
    view = Problem(sources, {"both": view}).views["both"]
    return widths(problem, None, view, truth, "b", refits, 1, seed)


def show(name: str, found: dict[str, np.ndarray]) -> None:
    """Two lines."""
    for what, (error, z, own, half, most, seconds) in found.items():
        parts = f"rms error {error:.3f}  z {z:.2f}  each by itself {own:.2f}  intervals of 50 and 90 %: {half:.2f}"
        print(f"{name}, {what:12s}  {parts} {most:.2f}  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
