"""What is computed with several devices and with one, to be compared; as a program, with the file to write it to."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Schedule, TrainingConfig, train
from dichroic.operators import Dense, DiagonalNoise, PerSample
from dichroic.posterior import Bound, batched, observation_keys, read_method
from dichroic.problem import View

N, SHAPES = 37, {"a": (3,), "b": (2,)}
COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"


def given(n: int = N) -> tuple[dict[str, DenoiserPrior], Bound]:
    """Priors, and a view with operators and missing entries of every observation's own, bound to them."""
    network, schedule = MLPConfig(width=8, depth=1, embedding=8), Schedule(0.01, 10.0)
    priors = {
        s: DenoiserPrior(NetworkDenoiser.create(shape, network, key=jax.random.key(i)), schedule)
        for i, (s, shape) in enumerate(SHAPES.items())
    }
    rng = np.random.default_rng(0)
    y, seen = rng.standard_normal((n, 4)).astype(np.float32), rng.random((n, 4)) < 0.8
    mixing = {s: PerSample(Dense(rng.standard_normal((n, 4, *d)).astype(np.float32))) for s, d in SHAPES.items()}
    view = View(y, mixing, DiagonalNoise(np.float32(0.3)), seen).bind(SHAPES)
    return priors, read_method({"kind": "annealed", "steps": 2}).bind(view, priors, key=jax.random.key(1))


def found() -> dict[str, np.ndarray]:
    """Draws, from pure noise and continued, with what the last digit of the data does to each, and weights trained in
    batches that no even number divides.
    """
    priors, bound = given()
    with compiled() as programs:
        keys = observation_keys(jax.random.key(2), N)
        cold = bound.draw(keys)

        def numbers(bound: Bound) -> dict[str, np.ndarray]:
            warm = bound.draw(keys, start=cold.samples, warm=np.arange(N) % 3 > 0)
            each = (("cold", bound.draw(keys)), ("warm", warm))
            return {f"{name} {s}": x for name, drawn in each for s, x in drawn.samples.items()} | {
                "chi_square": warm.chi_square
            }

        drawn, digit = numbers(bound), np.finfo(np.float32).eps
        moved = [numbers(bound.on(replace(bound.view, y=bound.view.y * (1 + k * digit)))) for k in (-1, 1)]
    prior, config = priors["a"], TrainingConfig(steps=5, batch=21)
    x = jax.device_put(np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32))
    trained, losses = train(prior.denoiser(), prior.schedule, x, config, key=jax.random.key(3))
    texts = [program.as_text() for program in programs]
    weights = [np.ravel(a) for a in jax.tree.leaves(trained) if isinstance(a, jax.Array)]
    return {
        **drawn,
        **{f"digit of {name}": np.max([_largest(other[name] - x) for other in moved], 0) for name, x in drawn.items()},
        "weights": np.concatenate(weights),
        "losses": np.asarray(losses),
        "collectives": np.asarray([len(re.findall(COLLECTIVES, text)) for text in texts]),
        "partitions": np.asarray([int(n) for text in texts for n in re.findall(r"num_partitions=(\d+)", text)]),
    }


def _largest(x: np.ndarray) -> np.ndarray:
    """The largest change of every observation, in the shape of all."""
    return np.broadcast_to(np.abs(x).max(tuple(range(1, x.ndim)), keepdims=True), x.shape)


@contextmanager
def compiled() -> Iterator[list[Any]]:
    """The programs that observations are drawn with meanwhile, of which there is one."""
    original, found, programs = batched._draw, [], []

    def draw(*arguments):
        if not programs:
            programs.append(original.lower(*arguments).compile())
            found.append(programs[0].compiled)
        return programs[0](*arguments)

    batched._draw = draw
    try:
        yield found
    finally:
        batched._draw = original


def costs(n: int) -> dict[str, float]:
    """What a device does for a draw of `n` observations each: operations and bytes of a program, how often it runs, and
    the evaluations of a draw.
    """
    whole = n * jax.device_count()
    _, bound = given(whole)
    with compiled() as programs:
        bound.draw(observation_keys(jax.random.key(2), whole))
    of_program = programs[0].cost_analysis()
    runs = -(-whole // bound.batch)
    return {
        "flops": runs * of_program["flops"],
        "bytes": runs * of_program["bytes accessed"],
        "evaluations": bound.cost.total,
    }


if __name__ == "__main__":
    each = {f"{name} of {n}": x for n in map(int, sys.argv[2:]) for name, x in costs(n).items()}
    np.savez(sys.argv[1], devices=jax.device_count(), **(each or found()))
