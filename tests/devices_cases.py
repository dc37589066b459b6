"""What is computed with several devices and with one, to be compared; as a program, with the file to write it to."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Schedule, TrainingConfig, train
from dichroic.operators import Dense, DiagonalNoise, PerSample
from dichroic.posterior import Bound, batched, observation_keys, read_method
from dichroic.problem import View

N, SHAPES = 37, {"a": (3,), "b": (2,)}
COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"


def given() -> tuple[dict[str, DenoiserPrior], Bound]:
    """Priors, and a view with operators and missing entries of every observation's own, bound to them."""
    network, schedule = MLPConfig(width=8, depth=1, embedding=8), Schedule(0.01, 10.0)
    priors = {
        s: DenoiserPrior(NetworkDenoiser.create(shape, network, key=jax.random.key(i)), schedule)
        for i, (s, shape) in enumerate(SHAPES.items())
    }
    rng = np.random.default_rng(0)
    y, seen = rng.standard_normal((N, 4)).astype(np.float32), rng.random((N, 4)) < 0.8
    mixing = {s: PerSample(Dense(rng.standard_normal((N, 4, *d)).astype(np.float32))) for s, d in SHAPES.items()}
    view = View(y, mixing, DiagonalNoise(np.float32(0.3)), seen).bind(SHAPES)
    return priors, read_method({"kind": "annealed", "steps": 2}).bind(view, priors, key=jax.random.key(1))


def found() -> dict[str, np.ndarray]:
    """Draws, from pure noise and continued, and weights trained in batches that no even number divides."""
    priors, bound = given()
    with compiled() as texts:
        keys = observation_keys(jax.random.key(2), N)
        cold = bound.draw(keys)
        warm = bound.draw(keys, start=cold.samples, warm=np.arange(N) % 3 > 0)
    prior, config = priors["a"], TrainingConfig(steps=5, batch=21)
    x = jax.device_put(np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32))
    trained, losses = train(prior.denoiser(), prior.schedule, x, config, key=jax.random.key(3))
    weights = [np.ravel(a) for a in jax.tree.leaves(trained) if isinstance(a, jax.Array)]
    return {
        **{f"{name} {s}": x for name, drawn in (("cold", cold), ("warm", warm)) for s, x in drawn.samples.items()},
        "chi_square": warm.chi_square,
        "weights": np.concatenate(weights),
        "losses": np.asarray(losses),
        "collectives": np.asarray([len(re.findall(COLLECTIVES, text)) for text in texts]),
        "partitions": np.asarray([int(n) for text in texts for n in re.findall(r"num_partitions=(\d+)", text)]),
    }


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The texts of the programs that observations are drawn with meanwhile."""
    original, texts, programs = batched._draw, [], []

    def draw(*arguments):
        if not programs:
            programs.append(original.lower(*arguments).compile())
            texts.append(programs[0].compiled.as_text())
        return programs[0](*arguments)

    batched._draw = draw
    try:
        yield texts
    finally:
        batched._draw = original


if __name__ == "__main__":
    np.savez(sys.argv[1], devices=jax.device_count(), **found())
