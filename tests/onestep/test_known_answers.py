"""Known answers of the skew divergence, in one dimension and by quadrature (Jayashankar's thesis, chapters 8 and 9)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import Schedule, TrainingConfig, train
from dichroic.onestep import (
    ensemble_mean,
    importance_mean,
    lecam,
    likelihood_score,
    logistic,
    share,
    skew_divergence,
    skew_weight,
    toward,
)

X = np.linspace(-12, 13, 20001)
CELL = X[1] - X[0]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def normal(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi))


def device(x):
    return jax.device_put(np.asarray(x, float))


def log_laws(sigma=0.0, mean=1.0, std=0.7):
    return normal(X, 0, np.hypot(1, sigma)), normal(X, mean, np.hypot(std, sigma))


def divergence(alpha, sigma=0.0, mean=1.0, std=0.7):
    return skew_divergence(*log_laws(sigma, mean, std), alpha, CELL)


@pytest.mark.parametrize(
    "alpha, sigma, by_mean, by_std",
    [
        (0.01, 0, 1.655892, -2.951822),
        (0.1, 0, 1.221777, -1.740079),
        (0.5, 0, 0.937644, -0.970480),
        (0.9, 0, 0.960732, -0.762933),
        (0.99, 0, 0.995184, -0.731906),
        (0.1, 0.5, 0.970830, -1.003982),
        (0.5, 0.5, 0.768374, -0.560344),
        (0.9, 0.5, 0.776162, -0.414916),
    ],
)
def test_the_gradient_of_a_generator_is_the_weighted_difference_of_scores(alpha, sigma, by_mean, by_std):
    # g(z) = mu + s z, of which the noisy sample is at mu + s z + sigma e; by the conditional mean of z at each point
    log_p, log_q = log_laws(sigma)
    weight = np.exp(log_q) * np.asarray(skew_weight(device(log_p - log_q), alpha))
    variance = 0.7**2 + sigma**2
    moved = weight * (-(X - 1) / variance + X / (1 + sigma**2))
    z = 0.7 * (X - 1) / variance
    np.testing.assert_allclose([CELL * moved.sum(), CELL * (moved * z).sum()], [by_mean, by_std], atol=1e-5)
    step = 1e-4
    slopes = [
        (divergence(alpha, sigma, **{name: at + step}) - divergence(alpha, sigma, **{name: at - step})) / (2 * step)
        for name, at in (("mean", 1.0), ("std", 0.7))
    ]
    np.testing.assert_allclose(slopes, [by_mean, by_std], atol=1e-5)


def test_values_of_the_divergence():
    np.testing.assert_allclose(divergence(1e-9), 1.184141, atol=1e-4)  # KL(p || q), reached slowly
    np.testing.assert_allclose(divergence(1 - 1e-9), 0.601675, atol=1e-4)  # KL(q || p)
    np.testing.assert_allclose(divergence(0.5), 0.643282, atol=1e-6)


def test_the_score_of_a_mixture():
    log_p, log_q = (normal(0.4, m, np.hypot(s, 0.5)) for m, s in ((0, 1), (1, 0.7)))
    s_p, s_q = -0.4 / 1.25, 0.6 / (0.7**2 + 0.25)
    D = float(share(device(log_p - log_q), 0.3))
    np.testing.assert_allclose([D * s_p + (1 - D) * s_q, D * (s_q - s_p)], [0.490918, 0.319893], atol=1e-6)


@pytest.mark.parametrize(
    "alpha, distance, least", [(0.2, 0.281631, 0.114939), (0.5, 0.279185, 0.180204), (0.8, 0.171980, 0.132483)]
)
def test_the_least_squares_discriminator_is_a_le_cam_divergence(alpha, distance, least):
    log_p, log_q = log_laws()
    log_ratio = device(log_p - log_q)
    p, q = np.exp(log_p), np.exp(log_q)
    real, fake = (np.asarray(lecam(log_ratio, log_ratio, alpha, *w)) for w in ((1.0, 0.0), (0.0, 1.0)))
    value = CELL * (p * real + q * fake).sum()
    np.testing.assert_allclose(value, least, atol=1e-6)
    np.testing.assert_allclose(value, alpha * (1 - alpha) * (1 - distance), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("loss", [lecam, logistic])
def test_a_discriminator_finds_the_ratio_at_every_skew(loss, alpha):
    p, q = (np.exp(normal(0.4, m, s)) for m, s in ((0, 1), (1, 0.7)))
    one = jax.grad(lambda real, fake: loss(real, fake, alpha), (0, 1))
    slopes = [one(at, at) for at in (device(-0.06933 + off) for off in (-1e-4, 1e-4))]
    low, high = (p * real + q * fake for real, fake in slopes)
    assert low < 0 < high


class Affine(eqx.Module):
    """`b y + c z + d`."""

    weights: jax.Array

    def trainable(self):
        return Affine(True)

    fast_block = None

    def __call__(self, y, z):
        return self.weights @ jnp.stack([y, z, jnp.ones_like(z)])


class Exact(eqx.Module):
    """The divergence of an affine generator given `y = 1.5 x + 0.3 n` from a normal source, with exact scores."""

    def init(self, denoiser, key):
        return None

    def loss(self, denoiser, state, batch, key):
        gain, variance = 1.5 / (1.5**2 + 0.09), 0.09 / (1.5**2 + 0.09)
        b, c, d = jax.lax.stop_gradient(denoiser.weights)

        def one(key):
            pair_key, z_key, noise_key, skew_key, level_key = jax.random.split(key, 5)
            e = jax.random.normal(pair_key, (2,))
            y = 1.5 * e[0] + 0.3 * e[1]
            x = denoiser(y, jax.random.normal(z_key))
            alpha = jax.random.uniform(skew_key, minval=0.1, maxval=1.0)
            sigma = 0.05 + 0.95 * jax.random.uniform(level_key)
            x_t = jax.lax.stop_gradient(x) + sigma * jax.random.normal(noise_key)
            means, variances = (gain * y, b * y + d), (variance + sigma**2, c**2 + sigma**2)
            l_p, l_q = (-0.5 * ((x_t - m) ** 2 / v + jnp.log(v)) for m, v in zip(means, variances, strict=True))
            f_p, f_q = (x_t + sigma**2 * (m - x_t) / v for m, v in zip(means, variances, strict=True))
            return toward(skew_weight(l_p - l_q, alpha) * (f_q - f_p), jnp.ones(1), jnp.zeros(1))[()] * x

        return jax.vmap(one)(batch.keys), state


def test_a_conditional_generator_finds_the_posterior():
    config = TrainingConfig(steps=1200, batch=256, rate=2e-2, final_rate=1e-5, ema=0.99)
    start = Affine(jnp.array([0.0, 1.0, 0.5]))
    found, _ = train(start, Schedule(), jnp.zeros(1), config, key=jax.random.key(0), objective=Exact())
    b, c, d = np.asarray(found.weights)
    np.testing.assert_allclose([b, abs(c), d], [1.5 / 2.34, np.sqrt(0.09 / 2.34), 0], atol=2e-3)


class TestGivenData:
    """Components `N(m, s^2)` of equal weight, seen noisily as `x_t`, and as `y = 1.5 x + 0.3 n`."""

    A, noise = 1.5, 0.3

    def moments(self, means, std, x_t, sigma):
        v = std**2 * sigma**2 / (std**2 + sigma**2)
        centres = (np.asarray(means) * sigma**2 + x_t * std**2) / (std**2 + sigma**2)
        log_r = -0.5 * (x_t - np.asarray(means)) ** 2 / (std**2 + sigma**2)
        r = np.exp(log_r - log_r.max())
        return r / r.sum(), centres, np.sqrt(v)

    def scores(self, means, std, x_t, sigma, y, K, n):
        """Of `n` rounds of `K` draws, by importance and by the ensemble."""
        rng = np.random.default_rng(0)
        r, centres, root = self.moments(means, std, x_t, sigma)
        x = centres[rng.choice(len(r), (n, K), p=r)] + root * rng.standard_normal((n, K))
        f, white = r @ centres, device([[self.A / self.noise]])
        by = jax.jit(
            jax.vmap(
                lambda x: (
                    importance_mean(x, -0.5 * (y - self.A * x[:, 0]) ** 2 / self.noise**2)[0][0],
                    ensemble_mean(x, device([f]), device([y / self.noise]), white)[0],
                )
            )
        )
        return [(np.asarray(found) - f) / sigma**2 for found in by(device(x[..., None]))]

    def test_one_component(self):
        importance, _ = self.scores([0.0], 1.0, 0.7, 0.8, -0.4, 100000, 1)
        np.testing.assert_allclose(importance, -0.98285, atol=0.02)
        # by the draws' own derivatives, g(z, x_t) = gain x_t + root z
        gain, root = 1 / 1.64, 0.8 / np.sqrt(1.64)
        x = gain * 0.7 + root * np.random.default_rng(1).standard_normal(100000)

        def log_likelihood(x_t):
            return -0.5 * ((-0.4 - self.A * (x + gain * (x_t - 0.7))) / self.noise) ** 2

        found = jax.jit(lambda x_t: likelihood_score(log_likelihood, x_t))(device(0.7))
        np.testing.assert_allclose(found, -0.98285, atol=0.02)
        # what it is not: the printed formula, the mean without weights, and DPS
        p_y = np.exp(normal(-0.4, self.A * gain * 0.7, np.hypot(self.noise, self.A * root)))
        np.testing.assert_allclose(p_y * -0.98285, -0.2279, atol=1e-4)
        slope = self.A * gain / self.noise**2
        np.testing.assert_allclose(np.mean(slope * (-0.4 - self.A * x)), -10.58, atol=0.12)
        np.testing.assert_allclose(slope * (-0.4 - self.A * gain * 0.7), -10.57, atol=0.005)

    @pytest.mark.parametrize(
        "sigma, exact, importance, spread, ensemble",
        [
            (0.3, 2.3806, 2.30, 0.39, 2.38),
            (1.0, 0.9543, 0.957, 0.018, 0.97),
            (2.0, 0.4242, 0.424, 0.005, 0.42),
            (4.0, 0.1202, 0.120, 0.001, 0.12),
        ],
    )
    def test_two_components(self, sigma, exact, importance, spread, ensemble):
        found, by_ensemble = self.scores([-2.0, 2.0], 0.2, 0.3, sigma, 3.0, 64, 4000)
        r, centres, root = self.moments([-2.0, 2.0], 0.2, 0.3, sigma)
        likelihood = r * np.exp(-0.5 * (3.0 - self.A * centres) ** 2 / (self.noise**2 + self.A**2 * root**2))
        shifted = centres + root**2 * self.A / (self.noise**2 + self.A**2 * root**2) * (3.0 - self.A * centres)
        np.testing.assert_allclose((likelihood @ shifted / likelihood.sum() - r @ centres) / sigma**2, exact, atol=1e-4)
        # the published mean is one of some hundred rounds itself
        np.testing.assert_allclose(found.mean(), importance, atol=1e-3 + 4 * spread / np.sqrt(400))
        np.testing.assert_allclose(found.std(), spread, rtol=0.2, atol=6e-4)
        np.testing.assert_allclose(by_ensemble.mean(), ensemble, atol=0.02)
