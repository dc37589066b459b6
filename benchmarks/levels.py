"""Draws at every noise level where noise is not Gaussian, beside the exact posterior of a prior that is a set of atoms.

    python benchmarks/levels.py [counts clipped ...]

One number seen once; 256 atoms, a wide heap and a narrow one or quantiles of a Gamma law. At eight noisy states of each
level, 512 draws: their standard deviation in units of the exact one, and how far their mean is off in the same units.
`moments` takes the atoms for a Gaussian at every level, whatever the noise: see the row of Gaussian noise.

`tests/posterior/test_empirical_levels.py` holds draws of other noise to the same figures.
"""

import sys
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from scipy.stats import gamma

from dichroic.diffusion import Empirical, Scaling, Schedule
from dichroic.operators import (
    Censored,
    DiagonalNoise,
    Identity,
    Laplace,
    Likelihood,
    Poisson,
    Response,
    StudentT,
)
from dichroic.posterior import CandidatePosterior, MomentMatching
from dichroic.posterior.linearised import linearised
from dichroic.posterior.sampler import Build
from dichroic.problem import Observation
from dichroic.white import WhitenedObservation

N, K, DRAWS = 256, 8, 512
Q = (np.arange(N) + 0.5) / N
TWO = np.concatenate([0.5 * ndtri(Q[::2]) - 1, 0.3 * ndtri(Q[::2]) + 1])
LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)


def saturating(m: jax.Array) -> jax.Array:
    """A response that levels off at 3."""
    return m / (1 + (m / 3) ** 2) ** 0.5


CASES: dict[str, tuple[Likelihood, float, np.ndarray]] = {
    "gaussian": (DiagonalNoise(0.3), 0.6, TWO),
    "student": (StudentT(0.3, 3), 0.6, TWO),
    "student, an outlier": (StudentT(0.3, 3), 3.0, TWO),
    "laplace": (Laplace(0.3), 0.6, TWO),
    "counts, 33": (Poisson(1.0), 33.0, gamma.ppf(Q, 25, scale=30 / 25)),
    "counts, 6": (Poisson(1.0), 6.0, gamma.ppf(Q, 4, scale=5 / 4)),
    "counts, 3": (Poisson(1.0), 3.0, gamma.ppf(Q, 2)),
    "counts, 1": (Poisson(1.0), 1.0, gamma.ppf(Q, 2)),
    "counts, 0": (Poisson(1.0), 0.0, gamma.ppf(Q, 2)),
    "clipped": (Censored(0.5, (-np.inf, 1.0)), 1.0, TWO),
    "rounded": (Censored(0.3, step=0.5), 0.5, TWO),
    "response": (Response(0.3, saturating), 0.6, TWO),
    "a square": (Response(0.3, lambda m: m**2), 1.0, TWO),
}


class Candidates(Build):
    """The atoms themselves, weighed."""

    denoisers: dict

    def __call__(self, observation, alike):
        return linearised(self, observation) or CandidatePosterior.create(self.denoisers, observation)


def state(likelihood: Likelihood, y: float, atoms: np.ndarray, way: str) -> tuple[Build, WhitenedObservation]:
    """What makes the target of a noise level, and the observation it makes it of."""
    scaling = Scaling(float(atoms.mean()), float(atoms.std()))
    denoisers = {"x": Empirical(atoms[:, None].astype(np.float32), np.full(N, 1 / N), scaling=scaling).denoiser()}
    seen = Observation(jax.device_put(np.array([y], np.float32)), np.ones(1, bool), {"x": Identity((1,))}, likelihood)
    observation = WhitenedObservation.of(seen, {"x": scaling}, {"x": (1,)})
    if way == "candidates":
        return Candidates(denoisers), observation
    sampler = MomentMatching().posterior(denoisers, observation, Schedule(1e-3, 100.0)).sampler
    return sampler.legs[0].build, observation


def row(
    likelihood: Likelihood, y: float, atoms: np.ndarray, way: str, levels: Sequence[float] = LEVELS
) -> list[tuple[float, float]]:
    """Spread and error of the mean at every level, both in units of the exact spread."""
    build, observation = state(likelihood, y, atoms, way)

    @jax.jit
    def draws(x_t, sigma, keys):
        target = build(observation, False)
        return jax.vmap(lambda x: jax.vmap(lambda key: target.draw({"x": x}, sigma, key)[0]["x"][0])(keys))(x_t)

    a, rng = Scaling(float(atoms.mean()), float(atoms.std())).to_scaled(atoms), np.random.default_rng(0)
    keys, found = jax.random.split(jax.random.key(1), DRAWS), []
    told = eqx.filter_jit(jax.vmap(lambda m: likelihood.log_prob(jnp.full(1, y), m)))
    log_p = np.asarray(told(atoms[:, None].astype(np.float32)), float)
    p = np.exp(log_p - log_p.max())
    for sigma in levels:
        x_t = rng.choice(a, K, p=p / p.sum()) + sigma * rng.normal(size=K)
        log = log_p - (x_t[:, None] - a) ** 2 / 2 / sigma**2
        w = np.exp(log - log.max(1, keepdims=True))
        w /= w.sum(1, keepdims=True)
        mean, unit = w @ a, np.sqrt(np.mean(w @ a**2 - (w @ a) ** 2))
        x = np.asarray(draws(x_t[:, None].astype(np.float32), np.float32(sigma), keys))
        found.append((np.sqrt(x.var(1).mean()) / unit, np.sqrt(np.mean((x.mean(1) - mean) ** 2)) / unit))
    return found


def main() -> None:
    print("levels:", *LEVELS)
    for name, case in CASES.items():
        if len(sys.argv) == 1 or any(word in name for word in sys.argv[1:]):
            for way in ("moments", "candidates"):
                print(f"{name}; {way}:", *(f"{s:.2f}/{m:.2f}" for s, m in row(*case, way)), flush=True)


if __name__ == "__main__":
    main()
