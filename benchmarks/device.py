"""What a fit of Grassy MNIST at the sizes of the paper asks of a GPU: floating-point operations, counted and not timed.

    python benchmarks/device.py [--experiment grassy-full] [--out benchmarks/results]

The settings are those of `dichroic reproduce --scale paper`. The operations of one network evaluation and of one
gradient are the compiler's own count; how many of each a fit makes follows from its plan (`count_passes`). Divided by
the operations per second that a device sustains, they give the time in network evaluations; what surrounds those comes
on top. Nothing is fitted here, and nothing is said about quality.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from dichroic.diffusion import Batch, NetworkDenoiser, Schedule
from dichroic.em import make_plan
from dichroic.operators import Identity, Scale
from dichroic.plan.cost import count_passes
from dichroic.problem import Problem, Source, View
from dichroic.settings import FitConfig
from dichroic.studies.reproduce.experiment import load_experiment

SHAPE = (28, 28, 1)
SUSTAINED = (30, 100, 300)  # TFLOP/s: 3, 10 and 30 % of what data-centre GPUs of 2023 state for bfloat16


def main() -> None:
    """Counts, prints, and writes `device.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=("grassy-full", "grassy-down"), default="grassy-full")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.experiment, "paper")
    config = FitConfig(**experiment.settings_of("dichroic"))
    n = {name: int(experiment.arguments[name]) for name in ("n_grass", "n_mix")}
    counted = count(config, grass=n["n_grass"], mix=n["n_mix"])
    for name, value in counted.items():
        print(f"{name:<28} {value:.4g}")
    for rate in SUSTAINED:
        print(f"at {rate:>3} TFLOP/s sustained      {counted['operations'] / rate / 1e12 / 60:.1f} minutes")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {"settings": config.model_dump(), **counted}
    (arguments.out / "device.json").write_text(json.dumps(record, indent=1) + "\n")


def count(config: FitConfig, grass: int, mix: int) -> dict[str, float]:
    """Evaluations, gradients and operations of a fit."""
    kept, held = (problem(round(share * grass), round(share * mix)) for share in (1 - config.held_out, config.held_out))
    plan = make_plan(kept, config.plan, frozenset())
    evaluations = 0.0
    for part in count_passes(kept, held, config, plan):
        # a decoupled step with the measured covariance is one evaluation of every source, and the last one is one more
        evaluations += part.times * len(part.learned) * sum(n * (steps + 1) for n, steps in part.runs(config))
    laps = sum(config.laps_of(stage.name) * len(stage.learn) for stage in plan)
    gradients = float(laps * config.training.steps * config.training.batch)
    forward, gradient = operations(config)
    return {
        "evaluations": evaluations,
        "gradients": gradients,
        "operations of an evaluation": forward,
        "operations of a gradient": gradient,
        "operations": evaluations * forward + gradients * gradient,
        "share of the M-step": gradients * gradient / (evaluations * forward + gradients * gradient),
    }


def problem(grass: int, mix: int) -> Problem:
    """Views of the right sizes; their data are not looked at."""
    empty = [np.zeros((n, *SHAPE), np.float32) for n in (grass, mix)]
    both = {"grass": Identity(SHAPE), "digit": Scale(0.5, SHAPE)}
    return Problem(
        {s: Source(SHAPE) for s in both},
        {"grass": View(empty[0], {"grass": both["grass"]}, 0.01), "mix": View(empty[1], both, 0.01)},
    )


def operations(config: FitConfig) -> tuple[float, float]:
    """Of one forward pass, and of one gradient of the training loss, as the compiler counts them."""
    denoiser = NetworkDenoiser.create(SHAPE, config.network, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(denoiser)
    x, key = np.zeros(SHAPE, np.float32), jax.random.key(0)

    def forward(leaves, x):
        return jax.tree.unflatten(structure, leaves)(x, np.float32(1.0))

    def loss(leaves, x):
        batch = Batch(x[None], key[None], Schedule(5e-3, 20.0), np.zeros((), int))
        return config.training.objective.loss(jax.tree.unflatten(structure, leaves), None, batch, key)[0].mean()

    def counted(function) -> float:
        return float(jax.jit(function).lower(leaves, x).compile().cost_analysis()["flops"])

    return counted(forward), counted(jax.grad(loss))


if __name__ == "__main__":
    main()
