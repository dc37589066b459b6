"""Long runs in a row, each in its own process under a watchdog: compiled programs must never wait for themselves."""

import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from dichroic.diffusion import Decoupled, GaussianDenoiser, Scaling, Schedule, run_sampler
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import MomentMatching
from dichroic.problem import Observation
from dichroic.white import WhitenedObservation

rng = np.random.default_rng({seed})
names, n = ("a", "b"), 64
denoisers = {{s: GaussianDenoiser.from_covariance(np.zeros(5), np.diag(rng.uniform(0.1, 2, 5))) for s in names}}
levels = Schedule(1e-2, 50.0).levels(10_000)

@jax.jit
@jax.vmap
def draw(A, y, key):
    observation = Observation(y, np.ones(3, bool), {{s: Dense(A[s]) for s in names}}, DiagonalNoise(0.1))
    whitened = WhitenedObservation.of(observation, {{s: Scaling() for s in names}}, {{s: (5,) for s in names}})
    target = MomentMatching(covariance="exact").build(denoisers, whitened, False)
    return run_sampler(target, Decoupled(), levels, key=key)[0]

A = {{s: rng.normal(size=(n, 3, 5)).astype(np.float32) for s in names}}
x = draw(A, rng.normal(size=(n, 3)).astype(np.float32), jax.random.split(jax.random.key({seed}), n))
assert all(np.isfinite(x[s]).all() for s in names)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_steps_in_a_process_of_their_own(seed):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(seed=seed)], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "done"
