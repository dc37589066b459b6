"""What one-step generators are compared with: discriminators and consistency models; and the curve of a training."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import MLPConfig, Schedule, TrainingConfig
from dichroic.onestep import (
    Consistency,
    Discriminator,
    GeneratorTraining,
    Noisy,
    OneStepConfig,
    train_adversary,
    train_consistency,
    train_one_step,
)

NETWORK = MLPConfig(width=32, depth=2, embedding=16, conditioning="film")


def data(rng, n=2000):
    """One number, of two modes."""
    return (rng.choice([-1.0, 1.0], (n, 1)) + 0.2 * rng.normal(size=(n, 1))).astype(np.float32)


def test_a_discriminator_pushes_along_the_slope_of_its_ratio(getkey):
    critic = Discriminator.create((2,), NETWORK, key=getkey())
    weights = 0.3 * jax.random.normal(getkey(), critic.network.network.last.weight.shape)
    critic = eqx.tree_at(lambda c: c.network.network.last.weight, critic, weights)
    x, sigma, step = jnp.array([0.3, -0.4]), jnp.array(0.5), 1e-2

    @eqx.filter_jit
    def both(critic, x):
        ends = [[critic(Noisy(x + sign * step * e, sigma)) for e in jnp.eye(2)] for sign in (1, -1)]
        return critic.direction(x, Noisy(x, sigma), None, jnp.array(0.7)), ends

    (d, log_ratio), (up, down) = both(critic, x)
    slopes = (np.asarray(up) - np.asarray(down)) / (2 * step)
    assert np.abs(slopes).max() > 0.1
    np.testing.assert_allclose(d, -slopes / (1 + np.exp(float(log_ratio))), rtol=0.02, atol=2e-3)


@pytest.mark.slow
def test_a_generator_learns_from_a_discriminator(rng, getkey):
    training = TrainingConfig(steps=300, batch=128, rate=2e-3, decay="linear", ema=0.95)
    config = OneStepConfig(training=training, critic_steps=3, critic_rate=3e-3, sigma_min=0.1, sigma_max=2.0)
    found, _ = train_adversary(data(rng), GeneratorTraining(NETWORK, config), key=getkey())
    x = np.asarray(jax.jit(jax.vmap(found.sample))(jax.random.split(getkey(), 4000)))
    # of the Gaussian it begins as, 0.38 are beyond a mode or between both
    assert np.mean(np.abs(np.abs(x) - 1) < 0.4) > 0.65 and 0.3 < np.mean(x > 0) < 0.7


@pytest.mark.slow
def test_a_consistency_model_keeps_its_end_and_learns(rng, getkey):
    schedule = Schedule(0.05, 5.0)
    config = TrainingConfig(steps=600, batch=128, rate=2e-3, decay="linear", ema=0.95)
    found, losses = train_consistency(data(rng), NETWORK, config, schedule, key=getkey())
    assert isinstance(found, Consistency) and np.isfinite(losses).all()
    np.testing.assert_allclose(found(jnp.array([0.7]), jnp.array(0.05)), [0.7], rtol=1e-5)
    draw = jax.jit(lambda keys: jax.vmap(lambda key: found.chain(key, jnp.array([5.0, 1.0])))(keys))
    x = np.asarray(draw(jax.random.split(getkey(), 4000)))
    assert np.mean(np.abs(np.abs(x) - 1) < 0.4) > 0.65 and 0.3 < np.mean(x > 0) < 0.7


@pytest.mark.slow
def test_the_curve_of_a_training_is_an_energy_distance(rng, getkey):
    config = OneStepConfig(training=TrainingConfig(steps=40, batch=128, ema=0.9), critic_steps=1)
    _, curve = train_one_step(data(rng), GeneratorTraining(NETWORK, config, watch=True), key=getkey())
    # of two modes and a Gaussian of the same moments, and not of what the losses are
    x, y = data(rng, 4000)[:, 0], rng.normal(size=4000) * 1.02
    between = np.abs(x[:, None] - y).mean()
    expected = 2 * between - np.abs(x[:, None] - x).mean() - np.abs(y[:, None] - y).mean()
    assert abs(curve[:20].mean() - expected) < 0.5 * expected
