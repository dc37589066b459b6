"""Does the check of a design predict, before any training, where the trained separation fails?

    python benchmarks/sweep.py [--observations 1024 4096] [--f-mix 0 0.1 0.5 0.9 0.99 1] [--out benchmarks/results]

Random manifolds (`dichroic.studies.experiments.manifolds`), two sources in two views: each view shows one source at
amplitude 1 and the other at `f_mix` through the same random matrix; and, last, both at amplitude 1 through matrices of
their own. Beside what `check_design` says of the operators alone stands what came of learning from the mixtures, by the
stages in closed form (Gaussian and mixture EM) and with exact posterior draws, so that nothing but the design and the
number of observations is at stake.

Prints for every design what the check says, before training: the condition of means and covariances, the undetermined
patterns of both, the error that the worst-determined pattern of the means is expected to have (in standard deviations
of the sources), and the worst finding. Then what came of it: the error of the learned populations' means, root mean
square over all patterns, and PSNR of single posterior draws of held-out observations, mean of sources and views, in dB.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np

from dichroic.algebra import Components
from dichroic.closed import components_em, gaussian_em
from dichroic.design import check_design
from dichroic.diffusion import DenoiserPrior, Prior
from dichroic.metrics import psnr
from dichroic.posterior import Auto, observation_keys
from dichroic.problem import Problem
from dichroic.settings import FitConfig
from dichroic.studies.experiments import differing, manifolds, mixed
from dichroic.studies.experiments.manifolds import PEAK

HELD_OUT = 512


def designs(f_mix: list[float], n: int, seed: int) -> Iterator[tuple[str, Problem, Problem]]:
    """Every design with its training and its held-out observations."""
    for f in f_mix:
        problem, held_out = mixed(n, f, seed, HELD_OUT)
        assert held_out is not None
        yield f"same matrix, f = {f:g}", problem, held_out
    problem, held_out = differing(n, seed, HELD_OUT)
    assert held_out is not None
    yield "own matrices, f = 1", problem, held_out


def learn(problem: Problem, held_out: Problem, seed: int) -> tuple[dict[str, Prior], Mapping[str, Components]]:
    """The closed-form stages of a fit: priors, and the same as components in the user's units."""
    config = FitConfig(seed=seed)
    gaussian = gaussian_em(problem, config.gaussian, seed=seed)
    start = {s: Components.of(population) for s, population in gaussian.populations.items()}
    found = components_em(problem, start, config.components, held_out=held_out, seed=seed)
    assert not found.refused
    priors = {
        s: DenoiserPrior.of(found.components[s], source.shape, config.schedule, gaussian.scaling(s), {})
        for s, source in problem.sources.items()
    }
    return priors, found.components


def separation(held_out: Problem, priors: Mapping[str, Prior]) -> float:
    """PSNR of single posterior draws, mean over sources and views."""
    scores = []
    for number, view in enumerate(held_out.views.values()):
        key = jax.random.key(number)
        drawn = Auto().bind(view, priors, key=key).draw(observation_keys(key, len(view)))
        scores += [psnr(drawn.samples[s], x, peak=PEAK) for s, x in view.truth.items()]
    return float(np.mean(scores))


def mean_error(components: Mapping[str, Components], seed: int) -> float:
    """How far the means of the learned populations are from the true ones, in standard deviations."""
    errors = []
    for s, manifold in manifolds(len(components), seed).items():
        x = manifold(np.linspace(0, 1, 20_001))
        errors.append(np.mean((components[s].weights @ components[s].means - x.mean(0)) ** 2) / x.var(0).mean())
    return float(np.sqrt(np.mean(errors)))


def examine(problem: Problem, held_out: Problem, seed: int) -> dict:
    """One row: the check first, which sees operators and noise only, then the result of learning."""
    report = check_design(problem)
    assert report is not None
    begin = time.process_time()
    priors, components = learn(problem, held_out, seed)
    return {
        "means": report.means.condition,
        "covariances": report.covariances.condition,
        "undetermined": [report.means.null, report.covariances.null],
        "expected_error": report.mean_error,
        "level": report.findings()[0].level,
        "check_seconds": report.seconds,
        "fit_processor_seconds": time.process_time() - begin,
        "mean_error": mean_error(components, seed),
        "psnr": separation(held_out, priors),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, nargs="+", default=[1024, 4096], help="per view")
    parser.add_argument("--f-mix", type=float, nargs="+", default=[0, 0.1, 0.5, 0.9, 0.99, 1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = []
    for n in arguments.observations:
        print(f"\n{n} observations per view; seed {arguments.seed}")
        print(
            f"{'design':24}{'cond. means':>12}{'cov.':>8}{'undetermined':>14}{'error':>8}{'check':>7}  |"
            f"{'error':>7}{'PSNR':>8}{'CPU s':>7}"
        )
        for name, problem, held_out in designs(arguments.f_mix, n, arguments.seed):
            row = {"design": name, "observations": n} | examine(problem, held_out, arguments.seed)
            null = " + ".join(map(str, row["undetermined"]))
            print(
                f"{name:24}{row['means']:12.3g}{row['covariances']:8.3g}{null:>14}{row['expected_error']:8.2g}"
                f"{row['level']:>7}  |{row['mean_error']:7.3f}{row['psnr']:8.2f}"
                f"{row['fit_processor_seconds']:7.0f}",
                flush=True,
            )
            table.append(row)
            (arguments.out / "sweep.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
