"""What the simple answers and the closed forms reach on real data: the numbers that anything learned has to beat.

    python benchmarks/simple.py FOLDER [--problems speech cells galaxies-psf] [--seeds 0 1 2] [--out benchmarks/results]

FOLDER holds the data sets (docs/experiments.md says how to fetch them). Prints, for every problem and seed, the scores
of held-out observations: of zero, of the data as they are, of the simple answers, and of exact posterior means under
the Gaussian stage and under the components stage, each at the settings of a fit. No choice looks at the truth. "As
seen" is the source behind its operator; z is the rms of (truth - mean) / posterior standard deviation. Seconds are of
the CPU.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from dichroic.algebra import Components
from dichroic.baselines import simple_answers
from dichroic.closed import GaussianConfig, components_em, gaussian_em
from dichroic.diagnose.white import WhiteView
from dichroic.operators import take
from dichroic.problem import Problem, View, blocks_of
from dichroic.studies.reproduce import load_experiment
from dichroic.studies.reproduce.generators import generate


def posterior(view: View, components: dict[str, Components], shapes: dict) -> tuple[dict, dict]:
    """Exact means and standard deviations of every source of a view, `{source: (n, d)}` each."""
    order = list(view.mixing)
    sizes = [len(components[s]) for s in order]
    tuples = np.stack([index.ravel() for index in np.indices(sizes)], 1)
    mean, std = (np.empty((len(view), sum(int(np.prod(shapes[s])) for s in order))) for _ in range(2))
    groups = [np.arange(len(view))] if view.shared else np.arange(len(view))[:, None]
    for rows in groups:
        A = WhiteView(view.select(rows[:1]), shapes).matrices()[0]
        y = WhiteView(view.select(rows), shapes).y
        logs, means, variances = [], [], []
        for kappa in tuples:
            mu = np.concatenate([components[s].means[k] for s, k in zip(order, kappa, strict=True)])
            C = np.zeros((len(mu), len(mu)))
            for (s, at), k in zip(blocks_of({s: shapes[s] for s in order}).items(), kappa, strict=True):
                C[at, at] = components[s].covariances[k]
            CA = C @ A.T
            S, r = np.eye(len(A)) + A @ CA, y - A @ mu
            L = np.linalg.cholesky(S)
            white = np.linalg.solve(L, r.T)
            weight = sum(np.log(components[s].weights[k]) for s, k in zip(order, kappa, strict=True))
            logs.append(weight - 0.5 * (white**2).sum(0) - np.log(np.diag(L)).sum())
            half = np.linalg.solve(L, CA.T)
            means.append(mu + white.T @ half)
            variances.append(np.diag(C) - (half**2).sum(0))
        w = np.exp(np.array(logs) - logsumexp(logs, axis=0))[..., None]
        mean[rows] = (w * np.array(means)).sum(0)
        second = (w * (np.array(variances)[:, None] + np.array(means) ** 2)).sum(0)
        std[rows] = np.sqrt(np.maximum(second - mean[rows] ** 2, 0))
    at = blocks_of({s: shapes[s] for s in order})
    return {s: mean[:, a] for s, a in at.items()}, {s: std[:, a] for s, a in at.items()}


def closed_forms(problem: Problem, held_out: Problem, view: str, source: str, seed: int) -> dict:
    """`{name: (mean, std, CPU seconds)}` of the two stages."""
    shapes = {s: x.shape for s, x in problem.sources.items()}
    kept, judge = problem.split(0.1, seed)
    begin = time.process_time()
    gaussian = gaussian_em(kept, GaussianConfig(), seed=seed)
    start = {s: Components.of(p) for s, p in gaussian.populations.items()}
    found = {}

    def add(name: str, components: dict[str, Components]) -> None:
        mean, std = posterior(held_out.views[view], components, shapes)
        found[name] = mean[source], std[source], time.process_time() - begin

    add("Gaussian stage, exact mean", start)
    fit = components_em(kept, start, held_out=judge, seed=seed)
    if fit.refused:
        found[f"components stage: none: {fit.refused}"] = None
    else:
        counts = " x ".join(str(len(x)) for x in fit.components.values())
        add(f"components stage ({counts}), exact mean", dict(fit.components))
    return found


def scores(problem: str, e: np.ndarray, truth: np.ndarray, seen: np.ndarray, operator: np.ndarray, std=None) -> dict:
    """The numbers of a problem."""
    if problem == "speech":
        found = {"SDR": 10 * np.log10((truth**2).sum() / max(((e - truth) ** 2).sum(), 1e-30))}
    elif problem == "cells":
        rows = [i for i in range(len(e)) if e[i].std() > 0 and truth[i].std() > 0]
        each = [np.corrcoef(e[i], truth[i])[0, 1] for i in rows]
        found = {"correlation": np.mean(each) if each else np.nan, "rmse": np.sqrt(((e - truth) ** 2).mean())}
    else:

        def psnr(x, t):
            return 10 * np.log10(t.max() ** 2 / ((x - t) ** 2).mean())

        found = {"deconvolved": psnr(e, truth), "as seen": psnr(operator, seen)}
    if std is not None:
        found["z"] = np.sqrt((((truth - e) / np.maximum(std, 1e-12)) ** 2).mean())
    return {key: float(value) for key, value in found.items()}


def run(name: str, folder: Path, seed: int) -> dict[str, dict]:
    """Every answer's scores on a problem."""
    experiment = load_experiment(name, "laptop")
    problem, held_out = generate(experiment.generator, experiment.arguments, seed, folder)
    target = experiment.targets[0]
    view, shape = held_out.views[target.view], problem.sources[target.source].shape
    truth = np.asarray(view.truth[target.source], float)
    operators = view.mixing[target.source]

    def through(x: np.ndarray) -> np.ndarray:
        x = jnp.asarray(x, jnp.float32)
        return np.asarray(jax.vmap(lambda i: take(operators, i)(x[i]))(jnp.arange(len(x))), float)

    table, seen = {}, through(truth)

    def add(label: str, e: np.ndarray, std=None, seconds=None, blurred=False) -> None:
        e = np.asarray(e, float).reshape(-1, *shape)
        std = None if std is None else std.reshape(-1, *shape)
        found = scores(name, e, truth, seen, e if blurred else through(e), std)
        table[label] = found | ({} if seconds is None else {"CPU s": round(seconds, 1)})
        print(f"{name:13s} seed {seed}  {label:48s}", *(f"{k} {v:.3f}" for k, v in table[label].items()), flush=True)

    add("zero", np.zeros_like(truth), blurred=True)
    add("the data as they are", view.y, blurred=True)
    if name == "speech":
        add("half of the mixture", view.y / 2)
    for label, cls in simple_answers(problem).items():
        begin = time.process_time()
        estimate = cls.fit(problem).separate(held_out, draws=0).mean(target.view, target.source)
        add(label, estimate, seconds=time.process_time() - begin, blurred=True)
    for label, found in closed_forms(problem, held_out, target.view, target.source, seed).items():
        if found is None:
            print(f"{name:13s} seed {seed}  {label}")
            continue
        mean, *others = found
        add(label, problem.sources[target.source].clip(mean), *others)
    return table


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", nargs="+", default=["speech", "cells", "galaxies-psf"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / "simple.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for name in a.problems:
        for seed in a.seeds:
            found[f"{name}/{seed}"] = run(name, a.folder, seed)
            file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
