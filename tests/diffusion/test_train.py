"""Training: the known minimiser, the moving average, the samples it may use, and how often it compiles."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import (
    OBJECTIVES,
    Batch,
    Denoising,
    GaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Schedule,
    TrainingConfig,
    train,
    trainable_in,
)

SCHEDULE = Schedule(1e-2, 10.0)
SMALL = MLPConfig(width=8, depth=1, embedding=8)


def leaves(denoiser):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(denoiser.network) if eqx.is_inexact_array(leaf)]


def test_gradients_are_the_same_in_blocks(rng, getkey):
    _, x = gaussian_samples(rng, 64)
    denoiser, key = NetworkDenoiser.create((2,), SMALL, key=getkey()), getkey()

    def trained(block):
        found, losses = train(denoiser, SCHEDULE, x, TrainingConfig(steps=4, batch=24, block=block), key=key)
        return [*leaves(found), np.asarray(losses)]

    for got, want in zip(trained(7), trained(None), strict=True):  # blocks of 6
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("batch, block, fast, blocks", [(24, None, None, 1), (24, 7, None, 4), (24, None, 16, 2)])
def test_blocks_are_equal_and_no_larger_than_asked_for(batch, block, fast, blocks):
    assert TrainingConfig(batch=batch, block=block).blocks(fast) == blocks


@eqx.filter_jit
def weighted_error(denoiser, truth, x, key):
    """Mean of (1 + sigma^-2) |D - D*|^2 per entry over the training levels: how much more than the least loss."""

    def one(x, key):
        level_key, noise_key = jax.random.split(key)
        sigma = SCHEDULE.training_sigma(level_key)
        x_t = x + sigma * jax.random.normal(noise_key, x.shape)
        return (1 + sigma**-2) * jnp.mean((denoiser(x_t, sigma) - truth(x_t, sigma)) ** 2)

    return jnp.mean(jax.vmap(one)(x, jax.random.split(key, len(x))))


def gaussian_samples(rng, n):
    mean, S = np.array([0.5, -0.3]), np.array([[1.2, 0.7], [0.7, 0.6]])
    truth = jax.tree.map(lambda a: np.asarray(a, np.float32), GaussianDenoiser.from_covariance(mean, S))
    return truth, jnp.asarray(rng.multivariate_normal(mean, S, size=n), jnp.float32)


@pytest.mark.slow
def test_training_on_gaussian_samples_approaches_the_gaussian_denoiser(rng, getkey):
    truth, x = gaussian_samples(rng, 4096)
    start = NetworkDenoiser.create((2,), MLPConfig(width=64, depth=2), key=getkey())
    config = TrainingConfig(steps=1500, batch=256, rate=3e-3)
    found, losses = train(start, SCHEDULE, x, config, key=getkey())
    _, fresh = gaussian_samples(np.random.default_rng(1), 8192)
    key = getkey()
    before, after = (float(weighted_error(d, truth, fresh, key)) for d in (start, found))
    # The least possible loss is the mean of (1 + sigma^-2) tr V / d; the excess of training is the weighted error. What
    # 384,000 draws leave of it is small beside both that and the start.
    key = getkey()
    sigma = np.asarray(jax.vmap(SCHEDULE.training_sigma)(jax.random.split(key, 8192)))
    least = np.mean([(1 + s**-2) * np.trace(_posterior_covariance(truth.covariance(), s)) / 2 for s in sigma])
    assert losses.shape == (1500,)
    assert before > 0.3
    assert after < 0.03 * least and after < 0.05 * before
    # the loss itself comes down to the least one, within the standard error of its last batches
    tail = np.asarray(losses[-300:])
    assert abs(tail.mean() - least) < 4.5 * tail.std() / np.sqrt(300) + 0.03 * least


def _posterior_covariance(S, sigma):
    return S - S @ np.linalg.inv(S + sigma**2 * np.eye(len(S))) @ S


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_minimiser_of_every_objective_is_the_true_denoiser(name, rng, getkey):
    # the true Gaussian denoiser against the same with a slightly different covariance: it must win, on common noise
    truth, x = gaussian_samples(rng, 4096)
    mean, S = np.asarray(truth.mean), truth.covariance()

    def as_network(base):
        return NetworkDenoiser.create((2,), SMALL, key=jax.random.key(0), base=base)

    keys = jax.random.split(getkey(), len(x))

    @eqx.filter_jit
    def losses(denoiser):
        objective = OBJECTIVES[name]()
        state = objective.init(denoiser, keys[0])
        return objective.loss(denoiser, state, Batch(x, keys, SCHEDULE, jnp.zeros((), int)), keys[0])[0]

    best = losses(as_network(truth))
    for other in (
        GaussianDenoiser.from_covariance(mean, 2 * S),
        GaussianDenoiser.from_covariance(mean, S / 2),
        GaussianDenoiser.from_covariance(mean + 0.5, S),
    ):
        worse = np.asarray(losses(as_network(jax.tree.map(jnp.asarray, other))) - best)
        assert worse.mean() > 4.5 * worse.std() / np.sqrt(len(x))


@pytest.mark.slow
def test_the_moving_average(rng, getkey):
    _, x = gaussian_samples(rng, 64)
    start, key = NetworkDenoiser.create((2,), SMALL, key=getkey()), getkey()

    def run(steps, ema):
        config = TrainingConfig(steps=steps, batch=8, decay="constant", ema=ema)
        return leaves(train(start, SCHEDULE, x, config, key=key)[0])

    average, steps, ema = leaves(start), 4, 0.8
    for k in range(1, steps + 1):
        decay = ema ** (steps / k)  # ramps up to `ema`
        average = [a + (1 - decay) * (w - a) for a, w in zip(average, run(k, 0.0), strict=True)]
    for a, b in zip(run(steps, ema), average, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert not np.allclose(run(steps, ema)[0], run(steps, 0.0)[0], atol=1e-5)


def test_only_usable_samples_are_used(rng, getkey):
    _, x = gaussian_samples(rng, 6)
    x = x.at[jnp.array([0, 2, 4])].set(jnp.nan)
    start, config = NetworkDenoiser.create((2,), SMALL, key=getkey()), TrainingConfig(steps=8, batch=64)
    usable = jnp.array([5, 1, 3, 0, 2, 4])
    found, losses = train(start, SCHEDULE, x, config, key=getkey(), usable=usable, count=3)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(leaf).all() for leaf in leaves(found))
    _, losses = train(start, SCHEDULE, x, config, key=getkey(), usable=usable, count=4)
    assert np.isnan(losses).any()
    for bad in range(3):  # and every one of those that are usable: poison them in turn
        poisoned = x.at[usable[bad]].set(jnp.nan)
        _, losses = train(start, SCHEDULE, poisoned, config, key=getkey(), usable=usable, count=3)
        assert np.isnan(losses).any()


def test_laps_share_one_compiled_program(rng, getkey, monkeypatch):
    traces = []
    objective = Denoising.loss

    def counted(*arguments):
        traces.append(1)
        return objective(*arguments)

    monkeypatch.setattr(Denoising, "loss", counted)
    config = TrainingConfig(steps=34, batch=8, rate=1.7e-3)  # settings of no other test, whose programs are kept
    base = gaussian_samples(rng, 4)[0]
    start = NetworkDenoiser.create((2,), SMALL, key=getkey(), base=base)
    denoiser, after_first = start, None
    for lap in range(3):
        _, x = gaussian_samples(rng, 48)
        order = jnp.asarray(rng.permutation(48))
        denoiser, _ = train(denoiser, SCHEDULE, x, config, key=getkey(), usable=order, count=40 - lap)
        after_first = after_first or len(traces)
    assert 0 < after_first <= 2  # all parts of a lap run the same program, a last one that is shorter too
    assert len(traces) == after_first


def test_training_reports_and_changes_only_the_network(rng, getkey):
    base, x = gaussian_samples(rng, 32)
    start = NetworkDenoiser.create((2,), SMALL, key=getkey(), base=base)
    seen = []
    config = TrainingConfig(steps=20, batch=4)
    found, losses = train(
        start, SCHEDULE, x, config, key=getkey(), report=lambda done, steps: seen.append((done, steps))
    )
    assert seen[-1] == (20, 20) and [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert losses.shape == (20,)
    for a, b in zip(jax.tree.leaves(found.base), jax.tree.leaves(base), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(leaves(found)[-1], leaves(start)[-1])


def test_same_key_same_weights(rng, getkey):
    _, x = gaussian_samples(rng, 32)
    start, key, config = NetworkDenoiser.create((2,), SMALL, key=getkey()), getkey(), TrainingConfig(steps=8, batch=4)
    one, two = (leaves(train(start, SCHEDULE, x, config, key=key)[0]) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = leaves(train(start, SCHEDULE, x, config, key=getkey())[0])
    assert not np.array_equal(one[0], other[0])


def test_weights_and_moments_are_updated_in_place(rng, getkey, monkeypatch):
    module, given = sys.modules["dichroic.diffusion.train"], []  # the package's `train` is the function
    run = module._run

    def watched(fixed, state):
        given.append(jax.tree.leaves(state))
        return run(fixed, state)

    monkeypatch.setattr(module, "_run", watched)
    _, x = gaussian_samples(rng, 32)
    start = NetworkDenoiser.create((2,), SMALL, key=getkey())
    before = leaves(start)
    train(start, SCHEDULE, x, TrainingConfig(steps=8, batch=4), key=getkey())
    assert all(a.is_deleted() for state in given for a in state)
    for a, b in zip(leaves(start), before, strict=True):  # but the caller's are the caller's
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
def test_gradients_are_clipped_and_the_rate_decays(decay):
    config = TrainingConfig(steps=100, rate=1e-2, final_rate=1e-4, decay=decay)
    optimizer = config.optimizer()
    weights = jnp.zeros(3)
    state, moved = optimizer.init(weights), []
    for _ in range(101):
        update, state = optimizer.update(jnp.array([1e6, -1e6, 0.0]), state, weights)
        moved.append(float(jnp.abs(update).max()))
    # Adam's step of a constant gradient is the rate
    np.testing.assert_allclose(moved[0], 1e-2, rtol=1e-3)
    np.testing.assert_allclose(moved[-1], 1e-2 if decay == "constant" else 1e-4, rtol=1e-3)


class Runaway(eqx.Module):
    """An objective with a state: how often it was asked, and a teacher whose bias the denoiser is to pass by one."""

    def init(self, denoiser, key):
        return {"calls": jnp.zeros((), int), "teacher": denoiser.network.last.bias}

    def loss(self, denoiser, state, batch, key):
        bias = denoiser.network.last.bias
        away = jnp.sum((bias - state["teacher"] - 1) ** 2)
        out_of_order = state["calls"] // 2 != batch.step  # two blocks a step
        after = {"calls": state["calls"] + 1, "teacher": jax.lax.stop_gradient(bias)}
        return jnp.where(out_of_order, jnp.nan, jnp.full(len(batch.x), away)), after


def test_an_objective_carries_its_state_through_blocks_and_steps(rng, getkey):
    _, x = gaussian_samples(rng, 32)
    start = NetworkDenoiser.create((2,), SMALL, key=getkey())
    config = TrainingConfig(steps=20, batch=8, block=4, decay="constant", ema=0)
    found, losses = train(start, SCHEDULE, x, config, key=getkey(), objective=Runaway())
    assert np.isfinite(losses).all()
    # running after a teacher that follows: always in the same direction, by Adam's rate a step
    np.testing.assert_allclose(found.network.last.bias - start.network.last.bias, 20e-3, rtol=0.05)


def test_what_is_trained_is_what_the_model_says(rng, getkey):
    class Last(NetworkDenoiser):
        def trainable(self):
            return trainable_in(self, lambda d: d.network.last)

    _, x = gaussian_samples(rng, 32)
    network = NetworkDenoiser.create((2,), SMALL, key=getkey())
    start = Last(network.network, network.base, network.precision)
    found, _ = train(start, SCHEDULE, x, TrainingConfig(steps=4, batch=8), key=getkey())
    assert not np.array_equal(found.network.last.weight, start.network.last.weight)
    for a, b in zip(jax.tree.leaves(found.network.hidden), jax.tree.leaves(start.network.hidden), strict=True):
        np.testing.assert_array_equal(a, b)


def test_samples_are_moved_before_they_are_learned_from(rng, getkey):
    _, x = gaussian_samples(rng, 64)
    denoiser, key, config = (
        NetworkDenoiser.create((2,), SMALL, key=getkey()),
        getkey(),
        TrainingConfig(steps=4, batch=24),
    )
    moved, _ = train(denoiser, SCHEDULE, x, config, key=key, augment=lambda x, key: x[::-1])
    expected, _ = train(denoiser, SCHEDULE, x[:, ::-1], config, key=key)
    plain, _ = train(denoiser, SCHEDULE, x, config, key=key)
    for got, want in zip(leaves(moved), leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert any(not np.allclose(a, b, atol=1e-6) for a, b in zip(leaves(moved), leaves(plain), strict=True))
