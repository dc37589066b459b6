"""Two scalar Gaussians in one number (check 16 of the description of alpha-RGS): printed values, for every sampler."""

import jax
import numpy as np
import pytest

from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Schedule
from dichroic.posterior import observation_keys, read_method
from dichroic.problem import View

N = 1500
MEAN, VARIANCES, COVARIANCE = (0.923077, 0.923077), (0.692308, 0.192308), -0.307692


def gaussian(variance: float) -> DenoiserPrior:
    denoiser = GaussianDenoiser(np.zeros(1, np.float32), np.eye(1, dtype=np.float32), np.full(1, variance, np.float32),
                                np.zeros((), np.float32))  # fmt: skip
    return DenoiserPrior(denoiser, Schedule(2e-3, 20.0))


@pytest.mark.parametrize(
    ("table", "off_mean", "off_spread"),
    [
        ({"kind": "annealed", "covariance": "exact", "steps": 24}, 0.0, 0.01),
        # the mean of a turn halves its distance from the joint one in 2 rounds here: 24 leave nothing of it
        ({"kind": "gibbs", "rounds": 24, "inner": {"kind": "annealed", "covariance": "exact", "steps": 12}}, 0.0, 0.01),
        ({"kind": "basis", "steps": 24, "rounds": 40}, 0.03, 0.03),  # moves of some length, and levels that fall
    ],
    ids=["moments", "gibbs", "basis"],
)
def test_draws_have_the_printed_moments(table, off_mean, off_spread):
    view = View(np.full((N, 1), 3.0, np.float32), {"x": 1.0, "n": 2.0}, 0.5).bind({"x": (1,), "n": (1,)})
    method = read_method({**table, "batch": N})
    bound = method.bind(view, {"x": gaussian(1.0), "n": gaussian(0.5)}, key=jax.random.key(0))
    drawn = bound.draw(observation_keys(jax.random.key(1), N))
    z = np.concatenate([drawn.samples["x"], drawn.samples["n"]], 1)
    S = np.array([[VARIANCES[0], COVARIANCE], [COVARIANCE, VARIANCES[1]]])
    np.testing.assert_array_less(np.abs(z.mean(0) - MEAN), 4 * np.sqrt(VARIANCES) / N**0.5 + off_mean)
    error = np.sqrt((S**2 + np.outer(VARIANCES, VARIANCES)) / N)
    np.testing.assert_array_less(np.abs(np.cov(z.T) - S), 4 * error + off_spread * np.abs(S))
