"""Pictures of 8 x 8 pixels behind five operators, and over grass: every method at equal evaluations, beside the exact
posterior.

    python benchmarks/pictures.py [--evaluations 10 100] [--observations 8] [--draws 16] [--only WORDS] [--swept]
        [--operators box missing blur downsampled fourier grass] [--out docs/benchmarks]

The prior is of scikit-learn's digits, in [0, 1]: 20 Gaussians, two groups of every digit, of 16 principal directions
and a rest. Its denoiser is exact, and methods are told no more of it than of a network; the posterior is exact, too.
Truths are draws of it: with a box of 4 x 4 hidden, 58 of the 64 pixels missing, moved by 3 pixels while they were
taken, downsampled by four, with 3 of 8 columns of their waves (the problems of DiEM's appendix E, arXiv 2405.13712,
which has FFHQ), or half as bright and over grass, which has a Gaussian of crops of a photograph for a prior. The noise
is 0.05 where pixels or waves are missing 0.005, over grass 0.01.

A cell is the PSNR of the mean of draws, its squared distance to the exact mean beyond what so few draws miss (in
percent of the exact variance) and the width of draws over the exact one, of the digit.
"""

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Prior, Scaling, Schedule, measure_spread
from dichroic.operators import Dense
from dichroic.posterior import observation_keys, read_method
from dichroic.problem import View
from dichroic.studies.experiments.digits import grassy_digits
from posterior_methods import SETTINGS, SWEPT, counted

SIZE, RANK, GROUPS = 8, 16, 2
PIXELS = SIZE**2
SCHEDULE = Schedule(5e-3, 20.0)
# full Jacobians are for fewer numbers, and settings of methods have tables of their own
LEFT = re.compile("moment matching|=")
OWN = {
    "default": {"kind": "auto"},
    "auto, trial = 64": {"kind": "auto", "trial": 64, "steps": 49},  # what it chooses costs one or two a step
    "moment matching, Krylov (1), ancestral": {
        "kind": "annealed", "covariance": "krylov", "iterations": 1, "step": "ancestral",
    },
}  # fmt: skip


def digits_and_grass() -> tuple[Components, Gaussian]:
    """The laws of flat digits, and of grass."""
    problem, _ = grassy_digits(range(10), n_grass=2048, repeats=1)
    x = problem.views["mix"].truth["digit"].reshape(-1, PIXELS)
    rng, weights, means, covariances = np.random.default_rng(0), [], [], []
    centres = x[rng.choice(len(x), 10 * GROUPS, replace=False)]
    for _ in range(10):
        group = ((x[:, None] - centres) ** 2).sum(-1).argmin(1)
        centres = np.stack([x[group == k].mean(0) for k in range(len(centres))])
    for k in range(len(centres)):
        part = x[group == k]
        values, basis = np.linalg.eigh(np.cov(part.T))
        values[:-RANK] = values[:-RANK].mean()
        weights.append(len(part) / len(x))
        means.append(part.mean(0))
        covariances.append((basis * np.maximum(values, 1e-4)) @ basis.T)
    grass = problem.views["grass"].truth["grass"].reshape(-1, PIXELS)
    return (
        Components(np.array(weights), np.stack(means), np.stack(covariances)),
        Gaussian.of(grass.mean(0), np.cov(grass.T)),
    )


def known_and_network(law: Components | Gaussian) -> tuple[DenoiserPrior, Prior]:
    """A prior in closed form, and the same as a network: nothing is known of it but values, derivatives and the
    covariance of its errors.
    """
    moments = law.gaussian() if isinstance(law, Components) else law
    scaling = Scaling(float(moments.mean.mean()), float(np.sqrt(moments.total_variance / PIXELS)))
    known = DenoiserPrior.of(law, (PIXELS,), SCHEDULE, scaling, {})
    x = np.asarray(known.sample(1024, key=jax.random.key(3)))
    z = (x - scaling.shift) / scaling.scale
    basis = np.linalg.svd(z - z.mean(0), full_matrices=False)[2].T.astype(np.float32)
    network = NetworkDenoiser.create(
        (PIXELS,), MLPConfig(width=8, depth=1), key=jax.random.key(0), base=known.denoiser()
    )
    spread = measure_spread(network, SCHEDULE, jnp.asarray(z, jnp.float32), jnp.asarray(basis), key=jax.random.key(1))
    return known, DenoiserPrior(replace(network, spread=spread), SCHEDULE, scaling)


def operators() -> dict[str, tuple[dict[str, np.ndarray], float]]:
    """Matrices of the sources, and noise, by name."""
    rng, eye = np.random.default_rng(1), np.eye(PIXELS)
    images = eye.reshape(-1, SIZE, SIZE)
    box = np.zeros((SIZE, SIZE), bool)
    box[2:6, 2:6] = True
    blur = np.stack([np.roll(images, k, axis=-1) for k in (-1, 0, 1)]).mean(0).reshape(-1, PIXELS).T
    down = images.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(PIXELS, -1).T
    waves = np.fft.fft2(images, norm="ortho")[:, :, [0, 1, 3]].reshape(PIXELS, -1).T
    return {
        "box": ({"digit": eye[~box.reshape(-1)]}, 0.05),
        "missing": ({"digit": eye[rng.permutation(PIXELS)[:6]]}, 0.005),
        "blur": ({"digit": blur}, 0.05),
        "downsampled": ({"digit": down}, 0.05),
        "fourier": ({"digit": np.concatenate([waves.real, waves.imag])}, 0.005),
        "grass": ({"digit": 0.5 * eye, "grass": eye}, 0.01),
    }


class Case:
    """Observations through one operator, with the exact mean and variance of the digit."""

    def __init__(self, name: str, known: dict[str, DenoiserPrior], n: int, draws: int):
        matrices, noise = operators()[name]
        seen = len(matrices["digit"])
        # rows of zeros say nothing, and operators of one shape share programs
        matrices = {s: np.pad(A, ((0, PIXELS - seen), (0, 0))) for s, A in matrices.items()}
        rng, self.n, self.draws = np.random.default_rng(2), n, draws
        x = {s: np.asarray(known[s].sample(n, key=jax.random.key(k))) for k, s in enumerate(matrices)}
        y = sum(x[s] @ A.T for s, A in matrices.items())
        y = ((y + noise * rng.normal(size=y.shape)) * (np.arange(PIXELS) < seen)).astype(np.float32)
        mixing = {s: Dense(A.astype(np.float32)) for s, A in matrices.items()}
        self.view = View(y, mixing, noise).bind({s: (PIXELS,) for s in mixing}).select(np.tile(np.arange(n), draws))
        self.truth = x["digit"]
        exact = read_method("closed_form").bind(self.view.select(np.arange(n)), known, key=jax.random.key(0))
        many = 256
        drawn = exact.draw(observation_keys(jax.random.key(9), n * many), np.tile(np.arange(n), many))
        self.mean = exact.mean()["digit"]
        self.drawn = drawn.samples["digit"].reshape(many, n, -1)
        self.variance = self.drawn.var(0, ddof=1).mean()

    def cell(self, x: np.ndarray, estimate: bool = False) -> str:
        """Of draws of the digit, `(draws, n, d)`, or of estimates, all alike."""
        width = 0.0 if estimate else (x.var(0, ddof=1).mean() / self.variance) ** 0.5
        psnr = -10 * np.log10(((x.mean(0) - self.truth) ** 2).mean(-1)).mean()
        missed = ((x.mean(0) - self.mean) ** 2).mean() - width**2 * self.variance / len(x)
        return f"{psnr:.1f}, {100 * missed / self.variance:.0f} %, {width:.2f}"


def main() -> None:
    """Measures everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, nargs="+", default=[10, 100])
    for name, usual in (("observations", 8), ("draws", 16)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--operators", nargs="+", default=list(operators()))
    parser.add_argument("--only", default="")
    parser.add_argument("--swept", action="store_true", help="settings of methods, in place of methods")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    begin, draws = time.process_time(), arguments.draws
    laws = dict(zip(("digit", "grass"), map(known_and_network, digits_and_grass()), strict=True))
    known, networks = ({s: pair[i] for s, pair in laws.items()} for i in (0, 1))
    cases = {name: Case(name, known, arguments.observations, draws) for name in arguments.operators}
    heads = [f"{name}: PSNR, gap, width" for name in cases]
    lines = [f"| method | steps | evaluations | CPU s | {' | '.join(heads)} |", "|---" * (len(heads) + 4) + "|"]
    lines.append(f"| exact posterior | | | | {' | '.join(c.cell(c.drawn[:draws]) for c in cases.values())} |")
    print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
    rows = SWEPT if arguments.swept else {**OWN, **{k: v for k, v in SETTINGS.items() if not LEFT.search(k)}}
    for evaluations in arguments.evaluations:
        for name, settings in rows.items():
            if not re.search(arguments.only, name):
                continue
            first = next(iter(cases.values()))

            def bind(method, case=first):
                some = {s: networks[s] for s in case.view.mixing}
                return method.bind(case.view, some, key=jax.random.key(0))

            start, cells, cost = time.process_time(), [], 0
            try:
                method = read_method(settings) if "steps" in settings else counted(settings, evaluations, bind)
            except ValueError:  # it is for other priors
                continue
            if method is None:
                continue
            method = method.model_copy(update={"batch": len(first.view)})
            for case in cases.values():
                try:
                    bound = bind(method, case)
                    drawn = bound.draw(observation_keys(jax.random.key(1), len(case.view)))
                except ValueError:  # it is for fewer sources or numbers
                    cells.append("")
                    continue
                cost = drawn.cost.total
                print(*bound.tried, sep="\n", end="\n" * bool(bound.tried))
                bad = f", {drawn.diverged.mean():.0%} off" if drawn.diverged.any() else ""
                x = drawn.samples["digit"].reshape(draws, case.n, -1)
                cells.append(case.cell(x, method.returns == "estimate") + bad)
            seconds = time.process_time() - start
            lines.append(f"| {name} | {method.runs[0]} | {cost} | {seconds:.0f} | {' | '.join(cells)} |")
            print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
            jax.clear_caches()
    name = "pictures_settings_table.inc" if arguments.swept else "pictures_table.inc"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
