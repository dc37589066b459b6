"""Where the decibels of the demo go: digits of 8 x 8 over grass by closed forms alone, blind and with true digits.

    python benchmarks/digits.py [--seeds 0 1] [--ties 8 1] [--looser 2.5 1] [--bags 5] [--no-oracle]

Prints PSNR of 288 held-out digits in dB, peak 1, of the exact posterior mean and of single draws, and the coverage of
the interval between the quartiles of twelve draws (of pixels whose draws vary):

- blind, the Gaussian stage and the components stage, for each of the `--ties` that it may begin with, with the
  log-likelihood of a held-out observation, by which they can be compared without truth; with `--looser`, once more,
  going on from the first of `--ties` with these as long as held-out observations say so;
- with the true digits of the training mixtures as a view of their own (and of the held-out ones, which choose the
  number of components): an oracle, of a Gaussian and of components;
- with `--bags`, the union of the digit's components from so many fits, all but the first of them to mixtures drawn with
  replacement: a prior as any other, whose posterior is exact.

Nothing but the oracle and the printing looks at the truth. Seconds are of the CPU.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from dichroic import FitConfig, Problem, View, fit
from dichroic.algebra import Components
from dichroic.diffusion import DenoiserPrior, Prior
from dichroic.metrics import psnr
from dichroic.run import Quiet, separate
from dichroic.studies.experiments.digits import grassy_digits

_DRAWS = 12


class Heard(Quiet):
    """The last that was said of held-out observations, and of the stage."""

    likelihood = said = ""

    def say(self, line: str) -> None:
        if "held-out log-likelihood" in line:
            self.likelihood = "held-out log-likelihood " + line.split()[-1]
        if line.startswith("components stage"):
            self.said = f"{self.likelihood}  {line}"


def fitted(
    problem: Problem,
    held_out: Problem,
    seed: int,
    components: int = 32,
    ties: Sequence[float] = (8.0,),
    heard: Heard | None = None,
) -> dict[str, Prior]:
    """The priors of the closed-form stages."""
    how = {"components": components, "ties": ties[0], "looser": ties[1:]}
    config = FitConfig.model_validate({"laps": 0, "seed": seed, "held_out_limit": 288, "components": how})
    with tempfile.TemporaryDirectory() as folder:
        return fit(problem, config, out=f"{folder}/run", held_out=held_out, progress=heard).priors


def with_digits(problem: Problem, seed: int) -> Problem:
    """With a view of the true digits."""
    x = problem.views["mix"].truth["digit"]
    noise = 0.01 * np.random.default_rng([seed, 9]).standard_normal(x.shape)
    alone = View((x + noise).astype(np.float32), {"digit": 1.0}, 0.01)
    return Problem(problem.sources, {**problem.views, "digit": alone}, problem.title)


def show(what: str, held_out: Problem, priors: Mapping[str, Prior], seconds: float, heard: str = "") -> None:
    """A line."""
    mixtures = held_out.select({"mix": np.arange(288)})
    found, truth = separate(mixtures, priors, draws=_DRAWS, key=jax.random.key(0)), mixtures.views["mix"].truth["digit"]
    x = np.asarray(found.samples["mix"]["digit"])
    low, high = np.quantile(x, [0.25, 0.75], axis=1)
    covered = ((truth >= low) & (truth <= high))[x.std(1) > 1e-3].mean()
    n = " and ".join(f"{len(p.components() or ()):2d} of {s}" for s, p in priors.items())
    scores = f"mean {psnr(found.mean('mix', 'digit'), truth):.2f}  draw {psnr(x[:, 0], truth):.2f}"
    print(f"{what:32s} {n}  {scores}  coverage {covered:.2f}  {seconds:.0f} s  {heard}", flush=True)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ties", type=float, nargs="+", default=[8.0])
    parser.add_argument("--looser", type=float, nargs="+", default=[])
    parser.add_argument("--oracle", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--bags", type=int, default=1)
    a = parser.parse_args()
    for seed in a.seeds:
        problem, held_out = grassy_digits(seed=seed)
        for most, *ties in (
            (1, 8.0),
            *((32, ties) for ties in a.ties),
            *([(32, a.ties[0], *a.looser)] if a.looser else []),
        ):
            begin, heard = time.process_time(), Heard()
            priors = fitted(problem, held_out, seed, most, ties, heard)
            name = "Gaussian stage" if most == 1 else f"components, ties {', '.join(f'{x:g}' for x in ties)}"
            show(f"seed {seed}, blind, {name}", held_out, priors, time.process_time() - begin, heard.said)
        for most in (1, 32) if a.oracle else ():
            begin = time.process_time()
            priors = fitted(with_digits(problem, seed), with_digits(held_out, seed + 100), seed, most)
            name = "Gaussian stage" if most == 1 else "components"
            show(f"seed {seed}, oracle, {name}", held_out, priors, time.process_time() - begin)
        bagged(problem, held_out, seed, a.bags)


def bagged(problem: Problem, held_out: Problem, seed: int, bags: int) -> None:
    """The union of several fits."""
    rng, begin, found, n = np.random.default_rng([seed, 5]), time.process_time(), [], len(problem.views["mix"])
    for bag in range(bags if bags > 1 else 0):
        rows = np.sort(rng.integers(0, n, n)) if bag else np.arange(n)
        part = problem.select({"mix": rows, "grass": np.arange(len(problem.views["grass"]))})
        priors = fitted(part, held_out, seed)
        found.append(priors["digit"].components())
    if found:
        together = Components(
            np.concatenate([x.weights for x in found]) / bags,
            np.concatenate([x.means for x in found]),
            np.concatenate([x.covariances for x in found]),
        )
        d = priors["digit"]
        digit = DenoiserPrior.of(together, d.shape, d.schedule, d.scaling, {})
        show(f"seed {seed}, {bags} bags", held_out, {**priors, "digit": digit}, time.process_time() - begin)


if __name__ == "__main__":
    main()
