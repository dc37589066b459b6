"""Networks in levels and lifted objectives: what they minimise, their signs, and that they are kept."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import (
    Batch,
    DenoiserPrior,
    Denoising,
    GaussianDenoiser,
    LiftedDenoising,
    MLPConfig,
    NetworkDenoiser,
    ResidualDenoising,
    Schedule,
    TrainingConfig,
    train,
)
from dichroic.diffusion.levels import _levels
from dichroic.score import lifted_loss

SCHEDULE = Schedule(1e-1, 10.0)
SMALL = MLPConfig(width=16, depth=1, embedding=8)
BASE = GaussianDenoiser(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), np.float32([1.5, 0.2]), np.float32(0))


def negated(denoiser):
    where = lambda d: (d.network.last.weight, d.network.last.bias)  # noqa: E731
    return eqx.tree_at(where, denoiser, replace_fn=jnp.negative)


@pytest.fixture(scope="module")
def samples():
    return jnp.asarray(np.random.default_rng(0).normal(size=(512, 2)) * [1.2, 0.5], jnp.float32)


@pytest.fixture(scope="module")
def plain(samples):
    """One level, trained a little."""
    start = NetworkDenoiser.create((2,), SMALL, key=jax.random.key(1))
    return train(start, SCHEDULE, samples, TrainingConfig(steps=64, batch=64, rate=1e-2), key=jax.random.key(2))[0]


@pytest.fixture(scope="module")
def two(plain):
    return NetworkDenoiser.create((2,), SMALL, key=jax.random.key(3), base=plain, head=0.5)


@eqx.filter_jit
def evaluated(denoiser, objective, x, keys):
    batch = Batch(x, keys, SCHEDULE, jnp.zeros((), int))

    def mean(denoiser):
        losses, state = objective.loss(denoiser, objective.init(denoiser, keys[0]), batch, keys[0])
        return jnp.mean(losses), (losses, state)

    (_, (losses, state)), gradient = eqx.filter_value_and_grad(mean, has_aux=True)(denoiser)
    return losses, state, gradient.network


def test_one_level_is_denoising_and_two_are_that_of_both_sums(plain, two, samples):
    keys = jax.random.split(jax.random.key(4), 64)
    x = samples[:64]
    first, _, gradient = evaluated(plain, Denoising(), x, keys)
    same, _, other = evaluated(plain, ResidualDenoising(levels=1), x, keys)
    np.testing.assert_allclose(same, first, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), gradient, other)
    whole, _, gradient = evaluated(two, Denoising(), x, keys)
    both, _, other = evaluated(two, ResidualDenoising(), x, keys)
    np.testing.assert_allclose(both, first + whole, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), gradient, other)


@pytest.mark.slow
def test_the_lifted_loss_is_the_mean_product_of_different_samples(plain, samples):
    x, keys = samples[:64], jax.random.split(jax.random.key(4), 64)
    losses, state, _ = evaluated(plain, LiftedDenoising(memory=0.0), x, keys)
    turned, opposite, _ = evaluated(negated(plain), LiftedDenoising(memory=0.0), x, keys)
    np.testing.assert_allclose(turned, losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(opposite, -state, rtol=1e-4)
    assert state[0] > 0
    terms, _ = _levels(plain, x, SCHEDULE, keys, jnp.ones(1))
    np.testing.assert_allclose(jnp.mean(losses), lifted_loss(terms[0]), rtol=1e-4)
    with pytest.raises(ValueError, match="block"):
        evaluated(plain, LiftedDenoising(), x[:1], keys[:1])


@pytest.mark.parametrize("closed_form", [False, True])
def test_every_level_of_a_lifted_objective_can_learn_from_the_start(closed_form, samples):
    """What is lifted is never zero: a closed form beside the first level, or weights; and weights of the second."""
    first = NetworkDenoiser.create((2,), SMALL, key=jax.random.key(1), base=BASE if closed_form else None)
    assert (np.abs(first.network.last.weight).max() == 0) == closed_form
    both = NetworkDenoiser.create((2,), SMALL, key=jax.random.key(2), base=first, head=LiftedDenoising.head)
    batch = Batch(samples[:16], jax.random.split(jax.random.key(4), 16), SCHEDULE, jnp.zeros((), int))

    @eqx.filter_jit
    def gradient(both):
        objective = LiftedDenoising(levels=2)
        return eqx.filter_grad(lambda d: jnp.mean(objective.loss(d, jnp.zeros(2), batch, batch.keys[0])[0]))(both)

    found = gradient(both)
    assert np.abs(found.network.last.weight).max() > 0
    assert np.abs(found.base.network.last.weight).max() > 0


@pytest.fixture(scope="module")
def lifted():
    return TrainingConfig(steps=32, batch=64, rate=1e-3, objective=LiftedDenoising(memory=0.9))


@pytest.mark.slow
def test_a_wrong_sign_is_folded_when_training_ends(plain, samples, lifted):
    found, _ = train(negated(plain), SCHEDULE, samples, lifted, key=jax.random.key(5))
    x_t, sigma = samples[:8], jnp.float32(0.5)
    apart = [jax.vmap(lambda x, d=d: d(x, sigma))(x_t) for d in (found, plain, negated(plain))]
    assert np.abs(apart[0] - apart[1]).mean() < 0.2 * np.abs(apart[2] - apart[1]).mean()
    lifted.objective.judge(found, SCHEDULE, samples, key=jax.random.key(6))
    with pytest.raises(ValueError, match="wrong sign"):
        lifted.objective.judge(negated(found), SCHEDULE, samples, key=jax.random.key(6))


def test_what_has_turned_away_from_a_closed_form_is_refused(two, plain):
    objective = LiftedDenoising(levels=2)
    folded = objective.finish(two, jnp.array([-1.0, -1.0]))
    for a, b in ((folded, two), (folded.base, plain)):
        np.testing.assert_array_equal(a.network.last.weight, -b.network.last.weight)
    known = NetworkDenoiser.create((2,), SMALL, key=jax.random.key(0), base=BASE)
    with pytest.raises(ValueError, match="turned away"):
        LiftedDenoising().finish(known, jnp.array([-1.0]))


def test_levels_are_trained_together_and_kept(two, samples, tmp_path):
    config = TrainingConfig(steps=4, batch=16, objective=ResidualDenoising())
    found, _ = train(two, SCHEDULE, samples, config, key=jax.random.key(7))
    for a, b in zip(found.levels, two.levels, strict=True):
        assert not np.array_equal(a.network.last.weight, b.network.last.weight)
    prior = DenoiserPrior(found, SCHEDULE)
    prior.save(tmp_path / "prior")
    again = DenoiserPrior.load(tmp_path / "prior")
    assert len(again.known.levels) == 2
    for a, b in zip(jax.tree.leaves(again.known), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
