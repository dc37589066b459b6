"""Generators: where they begin, what judges them, and what they come to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import Batch, ConvConfig, GaussianDenoiser, MLPConfig, Prior, Schedule, TrainingConfig
from dichroic.onestep import (
    Generator,
    GeneratorObjective,
    GeneratorPrior,
    GeneratorTraining,
    MixtureCritic,
    Noisy,
    OneStepConfig,
    TaughtCritic,
    distill,
    gaussian_of,
    together,
    train_one_step,
)

NETWORK = MLPConfig(width=32, depth=2, embedding=16)
SHORT = OneStepConfig(training=TrainingConfig(steps=48, batch=64, rate=3e-3, decay="linear", ema=0.9), critic_steps=2)
COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.8]])


def gaussian(covariance=COVARIANCE, mean=(0.3, -0.2)):
    return jax.tree.map(
        lambda a: np.asarray(a, np.float32), GaussianDenoiser.from_covariance(np.asarray(mean), np.asarray(covariance))
    )


@eqx.filter_jit
def draws(generator, keys, noisy=None):
    return jax.vmap(lambda key: generator.sample(key, noisy))(keys)


def test_a_generator_begins_as_its_gaussian(getkey):
    x = np.asarray(draws(Generator.create(gaussian(), NETWORK, key=getkey()), jax.random.split(getkey(), 20000)))
    np.testing.assert_allclose(x.mean(0), [0.3, -0.2], atol=4 * 0.01)
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.05)


def test_a_stochastic_generator_begins_as_the_exact_posterior_of_its_gaussian(getkey):
    base, noisy = gaussian(), Noisy(jnp.array([1.0, 0.5]), jnp.array(0.7))
    generator = Generator.create(base, NETWORK, stochastic=True, key=getkey())
    x = np.asarray(draws(generator, jax.random.split(getkey(), 20000), noisy))
    gain = COVARIANCE @ np.linalg.inv(COVARIANCE + 0.49 * np.eye(2))
    mean = np.array([0.3, -0.2])
    np.testing.assert_allclose(x.mean(0), mean + gain @ ([1.0, 0.5] - mean), atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), 0.49 * gain, atol=0.02)
    chain = eqx.filter_jit(lambda g, keys: jax.vmap(lambda key: g.chain(key, jnp.array([8.0, 1.0, 0.2])))(keys))
    x = np.asarray(chain(generator, jax.random.split(getkey(), 20000)))
    np.testing.assert_allclose(x.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.05)


def test_two_noisy_copies_are_one():
    base, a, b = gaussian(), (np.array([1.0, 0.2]), 0.5), (np.array([-0.3, 0.6]), 2.0)
    both = together(*(Noisy(jnp.asarray(x, jnp.float32), jnp.asarray(s, jnp.float32)) for x, s in (a, b)))
    inverse = np.linalg.inv(COVARIANCE)
    precision = inverse + (a[1] ** -2 + b[1] ** -2) * np.eye(2)
    mean = np.linalg.solve(precision, inverse @ [0.3, -0.2] + a[0] / a[1] ** 2 + b[0] / b[1] ** 2)
    np.testing.assert_allclose(base(both.x, both.sigma), mean, rtol=1e-5)


@pytest.mark.parametrize("critic", [MixtureCritic, TaughtCritic])
def test_a_critic_moves_nothing_before_it_has_learned(critic, getkey):
    laws = [gaussian()] if critic is MixtureCritic else [gaussian(), gaussian()]
    made = critic.create(*laws, NETWORK, stochastic=True, key=getkey())
    noisy, given = (Noisy(jnp.array([0.4, 0.1]), jnp.array(s)) for s in (0.3, 1.1))
    d, log_ratio = made.direction(jnp.zeros(2), noisy, given, jnp.array(0.7))
    assert not np.asarray(d).any() and not log_ratio


@pytest.mark.parametrize(
    "ratio_loss",
    ["regression", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("denoising", "lecam", "logistic"))],
)
def test_every_ratio_loss_trains_toward_the_teacher(ratio_loss, rng, getkey):
    # the generator begins as a Gaussian with the wrong mean and half the spread, which its data were given on purpose
    data = rng.multivariate_normal([0.6, 0.4], COVARIANCE / 4, 2000).astype(np.float32)
    config = SHORT.model_copy(update={"ratio_loss": ratio_loss, "weighting": "dmd"})
    found, losses = distill(gaussian(mean=(0.0, 0.0)), data, GeneratorTraining(NETWORK, config), key=getkey())
    x = np.asarray(draws(found, jax.random.split(getkey(), 4000)))
    assert np.isfinite(losses).all()
    assert x.mean(0) @ [0.6, 0.4] < 0.75 * (0.6**2 + 0.4**2)


@pytest.mark.slow
def test_images_and_a_discriminator(getkey):
    base = gaussian_of(np.asarray(jax.random.normal(getkey(), (64, 4, 4, 1))))
    network, config = ConvConfig(channels=(4, 4), depth=1), SHORT.model_copy(update={"adversary": 1e-2})
    generator = Generator.create(base, network, stochastic=True, key=getkey())
    options = {"stochastic": True, "weighting": "adaptive", "adversary": 1e-2, "key": getkey()}
    objective = GeneratorObjective(MixtureCritic.create(base, network, **options), jnp.zeros((64, 4, 4, 1)), config)
    batch = Batch(jnp.zeros(3), jax.random.split(getkey(), 3), Schedule(0.02, 5.0), jnp.zeros((), int))
    state = objective.init(generator, getkey())
    losses, after = eqx.filter_eval_shape(objective.loss, generator, state, batch, getkey())
    assert losses.shape == (3,)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_training_goes_on_where_it_stopped(rng, tmp_path, getkey):
    data, key = rng.normal(size=(64, 2)).astype(np.float32), getkey()

    class Stop(Exception):
        pass

    def stop(done, steps):
        if done > steps / 2:
            raise Stop

    def trained(**options):
        return distill(gaussian(), data, GeneratorTraining(NETWORK, SHORT, stochastic=True, **options), key=key)

    whole, losses = trained()
    file = tmp_path / "training.safetensors"
    with pytest.raises(Stop):
        trained(checkpoint=file, report=stop)
    seen = []
    again, more = trained(checkpoint=file, report=lambda done, steps: seen.append(done))
    assert len(seen) < 16
    np.testing.assert_array_equal(losses, more)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_generator_is_told_its_class(rng, tmp_path, getkey):
    labels = rng.integers(2, size=2000)
    data = (np.where(labels, 1.5, -1.5)[:, None] + 0.3 * rng.normal(size=(2000, 2))).astype(np.float32)
    training = TrainingConfig(steps=96, batch=64, decay="linear", ema=0.9)
    config = OneStepConfig(training=training, critic_rate=3e-3, critic_low=1.0, weighting="dmd")
    found, _ = train_one_step(data, GeneratorTraining(NETWORK, config), key=getkey(), labels=labels)
    ask = eqx.filter_jit(lambda g, keys, label: jax.vmap(lambda key: g.sample(key, None, label))(keys))
    of = [np.asarray(ask(found, jax.random.split(getkey(), 1000), jnp.eye(2)[k])).mean() for k in range(2)]
    assert of[0] < -0.75 and of[1] > 0.75
    prior = GeneratorPrior(found)
    prior.save(tmp_path / "prior.safetensors")
    drawn = Prior.load(tmp_path / "prior.safetensors").sample(1000, key=getkey())
    assert abs(float(np.mean(np.asarray(drawn) > 0)) - 0.5) < 0.1


def test_a_stochastic_generator_has_no_classes(rng, getkey):
    with pytest.raises(ValueError, match="a stochastic generator has no classes"):
        how = GeneratorTraining(NETWORK, SHORT, stochastic=True)
        train_one_step(rng.normal(size=(64, 2)), how, key=getkey(), labels=np.arange(64) % 2)
