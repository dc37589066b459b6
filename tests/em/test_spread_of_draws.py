"""Under-dispersion, the way EM fails: every preset keeps the exact spread, and EM on a Gaussian source its variance."""

import jax
import numpy as np
import pytest

from dichroic.diffusion import Denoiser, DenoiserPrior, GaussianDenoiser
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import MomentMatching, observation_keys
from dichroic.problem import View
from dichroic.settings import PRESETS, preset
from oracles import SIGMAS, random_covariance


class Opaque(Denoiser):
    """A Gaussian that looks like a network, so that it is sampled like one."""

    inner: GaussianDenoiser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    def __call__(self, x_t, sigma):
        return self.inner(x_t, sigma)


def opaque(mean: np.ndarray, covariance: np.ndarray) -> Opaque:
    gaussian = GaussianDenoiser.from_covariance(mean, covariance)
    as_floats = jax.tree.map(lambda a: np.asarray(a, np.float32), gaussian)
    return Opaque(as_floats)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_draws_of_a_preset_have_the_exact_standard_deviation(name, warm):
    rng = np.random.default_rng(0)
    names, n, std = ["a", "b"], 6000, 0.1
    A = {s: rng.normal(size=(3, 5)) for s in names}
    S = {s: random_covariance(rng, 5, 10.0) for s in names}
    mean = {s: 0.3 * rng.normal(size=5) for s in names}
    y = rng.normal(size=3)
    matrix = np.concatenate([A[s] for s in names], axis=1)
    prior = np.zeros((10, 10))
    prior[:5, :5], prior[5:, 5:] = S["a"], S["b"]
    gain = prior @ matrix.T @ np.linalg.inv(std**2 * np.eye(3) + matrix @ prior @ matrix.T)
    centre = np.concatenate([mean[s] for s in names])
    expected, covariance = centre + gain @ (y - matrix @ centre), prior - gain @ matrix @ prior
    # one observation, drawn n times; a warm start that is a draw of the posterior already must remain one
    view = View(np.tile(y, (n, 1)).astype(np.float32), {s: Dense(A[s].astype(np.float32)) for s in names}, std)
    view = view.bind({s: (5,) for s in names})
    start = rng.multivariate_normal(expected, covariance, size=n).astype(np.float32)
    priors = {s: DenoiserPrior(opaque(mean[s], S[s]), preset(name).schedule) for s in names}
    bound = preset(name).sampling.bind(view, priors, key=jax.random.key(1))
    start = {"a": start[:, :5], "b": start[:, 5:]} if warm else None
    drawn = bound.draw(observation_keys(jax.random.key(1), n), start=start)
    x = np.concatenate([drawn.samples[s] for s in names], axis=1)
    ratio = x.std(0) / np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(ratio, 1, atol=0.03)  # the standard error is 0.009
    assert abs(np.mean(ratio) - 1) < 0.015
    offset = (x.mean(0) - expected) / np.sqrt(np.diag(covariance))
    assert np.all(np.abs(offset) < 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_em_on_a_gaussian_source_keeps_its_variance(name):
    # y = x + n with noise as strong as the source: a sampler whose standard deviations are 1 % too small loses 4 %
    rng = np.random.default_rng(0)
    n, d, laps, noise = 4096, 4, 64, 1.0
    y = (rng.normal(size=(n, d)) + noise * rng.normal(size=(n, d))).astype(np.float32)
    view = View(y, {"x": 1.0}, DiagonalNoise(noise)).bind({"x": (d,)})
    cold, warm = preset(name).sampling.runs
    method = MomentMatching(covariance="exact", steps=cold, warm_steps=warm)
    likeliest = y.var(0) - noise**2  # the fixed point of exact EM
    mean, variance, found = np.zeros(d), np.ones(d), []
    for lap in range(laps):
        priors = {"x": DenoiserPrior(opaque(mean, np.diag(variance)), preset(name).schedule)}
        key = jax.random.key(lap)
        x = method.bind(view, priors, key=key).draw(observation_keys(key, n)).samples["x"]
        mean, variance = x.mean(0), x.var(0)
        found.append(variance.mean())
    # the last half of the laps, whose noise has a standard error of 0.7 %
    assert abs(np.mean(found[laps // 2 :]) / likeliest.mean() - 1) < 0.007 * SIGMAS
