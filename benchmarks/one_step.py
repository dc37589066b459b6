"""The known answers of one-step generators at their own length: a ring, a Swiss roll, a grid, and a Gaussian.

    python benchmarks/one_step.py [ring-smd ring-smt roll-smt grid-smd gaussian] [--steps 4000] [--batch 256]

Networks of three layers of 128, critic and generator at 1e-3 that decay linearly, five steps of the critic for every
one of the generator. Prints the scores of 4,000 draws beside the criteria. A training is kept as it goes, in the folder
`--kept`: the same command goes on.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from dichroic.diffusion import GaussianDenoiser, MLPConfig, TrainingConfig
from dichroic.metrics import energy_distance
from dichroic.onestep import GeneratorTraining, OneStepConfig, distill, train_one_step
from dichroic.studies.one_step import LAWS, draw

# parts with half of their share, smallest share, share within three standard deviations, energy distance at most
CRITERIA = {
    "ring-smd": (8, 0.5, 0.75, 0.003),
    "ring-smt": (8, 0.25, 0.0, 0.01),
    "roll-smt": (0, 1e-3, 0.5, 0.006),
    "grid-smd": (24, 0.0, 0.0, 0.004),
}
C = np.array([[1.0, 0.6, 0.0, 0.2], [0.6, 0.9, -0.3, 0.0], [0.0, -0.3, 1.1, 0.4], [0.2, 0.0, 0.4, 1.0]])


def config(steps, batch, **changes):
    return OneStepConfig(training=TrainingConfig(steps=steps, batch=batch, decay="linear", ema=0.995), **changes)


def drawn(found, n):
    keys = jax.random.split(jax.random.key(1), n)
    return np.asarray(draw(found, keys, None))


def plane(name, steps, batch, how):
    """Scores of a law in the plane."""
    law, way = name.split("-")
    law, rng = LAWS[law](), np.random.default_rng(0)
    data, fresh, again = (law.draw(rng, n).astype(np.float32) for n in (20_000, 4000, 4000))
    key = jax.random.key(0)
    if way == "smd":
        teacher = jax.tree.map(lambda a: np.asarray(a, np.float32), law.teacher)
        found, _ = distill(teacher, data, how(config(steps, batch)), key=key)
    else:
        found, _ = train_one_step(data, how(config(steps, batch, weighting="adaptive")), key=key)
    got = law.scores(drawn(found, 4000), fresh)
    hit, smallest, within, energy = CRITERIA[name]
    wanted = f"{hit} hit, {smallest:g}, {within:g}, {energy:g}"
    floor = float(energy_distance(again, fresh))
    met = got["hit"] >= hit and got["smallest"] >= smallest and got["within"] >= within and got["energy"] <= energy
    return (
        f"{got['hit']} of {got['parts']} hit, smallest share {got['smallest']:.2f}, {got['within']:.2f} within 3 sd, "
        f"energy distance {got['energy']:.4f} (floor {floor:.4f}); wanted {wanted}: {'met' if met else '**not met**'}"
    )


def gaussian(steps, batch, how):
    """A generator that begins as a Gaussian of half the spread, distilled from one with covariance C."""
    teacher = GaussianDenoiser.from_covariance(np.zeros(4), C)
    teacher = jax.tree.map(lambda a: np.asarray(a, np.float32), teacher)
    data = np.random.default_rng(0).multivariate_normal(np.zeros(4), C / 4, 4000).astype(np.float32)
    found, _ = distill(teacher, data, how(config(steps, batch, weighting="dmd")), key=jax.random.key(0))
    off = np.linalg.norm(np.cov(drawn(found, 20_000).T) - C) / np.linalg.norm(C)
    return (
        f"covariance off by {off:.3f} in the Frobenius norm; wanted at most 0.1: {'met' if off <= 0.1 else 'not met'}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*CRITERIA, "gaussian"])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--kept", type=Path, default=Path("runs/one_step"))
    a = parser.parse_args()
    a.kept.mkdir(parents=True, exist_ok=True)
    network = MLPConfig(width=128, depth=3)
    for name in a.cases:
        begin = time.process_time()
        file = a.kept / f"{name}-{a.steps}-{a.batch}.safetensors"

        def report(done, steps, name=name, begin=begin):
            print(f"{name}: {done} of {steps}, {time.process_time() - begin:.0f} CPU s", flush=True)

        def how(settings, file=file, report=report):
            return GeneratorTraining(network, settings, checkpoint=file, report=report)

        work = (a.steps, a.batch, how)
        print(f"{name}, {a.steps} steps of {a.batch}: ", gaussian(*work) if name == "gaussian" else plane(name, *work))


if __name__ == "__main__":
    main()
