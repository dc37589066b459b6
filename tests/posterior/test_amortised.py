"""The amortised posterior: its closed form, what its network is asked for, and what training comes to."""

from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import (
    STEPS,
    GaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Schedule,
    TrainingConfig,
    UNetConfig,
    run_sampler,
    train,
)
from dichroic.operators import Dense, DiagonalNoise, LinearFunction
from dichroic.posterior import AmortisedPosterior, Conditional
from dichroic.posterior.gaussian import linear_model
from dichroic.posterior.pairs import PairObjective, measure_ratios
from oracles import SIGMAS, assert_gaussian, flatten
from posterior_cases import CASES, Case, make_case, target_of, whiten

SCHEDULE = Schedule(5e-3, 20.0)
SMALL = MLPConfig(width=32, depth=2, embedding=16)


def bimodal(rng, n: int, d: int) -> np.ndarray:
    """Far from Gaussian, with correlated entries off the origin."""
    signs = rng.choice([-1.0, 1.0], size=(n, 1), p=[0.3, 0.7])
    return 1 + signs * np.linspace(0.5, 1.5, d) + 0.1 * rng.normal(size=(n, d))


def matched(x: np.ndarray) -> GaussianDenoiser:
    return GaussianDenoiser.from_covariance(x.mean(0), np.cov(x.T, bias=True))


def pairs(rng, draws, operators: int = 8, std: float = 0.05, populations=None) -> PairObjective:
    """Random matrices of three rows."""
    populations = populations or {s: matched(x) for s, x in draws.items()}

    @jax.jit
    @jax.vmap
    def models(A):
        mixing = {s: Dense(matrix) for s, matrix in A.items()}
        return linear_model(populations, whiten(np.zeros(3), mixing, DiagonalNoise(std)))

    found = models({s: rng.normal(size=(operators, 3, x.shape[1])) for s, x in draws.items()})
    return PairObjective({s: jnp.asarray(x) for s, x in draws.items()}, found, shared=False)


def with_weights(conditional: Conditional, key) -> Conditional:
    """Its last layer no longer zero."""
    last = lambda c: c.network.last.weight  # noqa: E731
    return eqx.tree_at(last, conditional, jax.random.normal(key, last(conditional).shape) / 4)


def test_what_the_network_is_asked_for_has_unit_variance(float64, rng):
    # sources of any kind, operators of any kind: the error of a best linear estimate in units of what it should be
    draws = {"a": bimodal(rng, 4000, 3), "b": bimodal(rng, 4000, 2)}
    objective = pairs(rng, draws)
    linear = Conditional.gaussian({s: matched(x) for s, x in draws.items()})
    n = 20_000
    keys, index = jax.random.split(jax.random.key(1), n), jnp.arange(n) % 8
    errors = jax.jit(jax.vmap(lambda sigma, i, k: objective.error(linear, sigma, i, k), (None, 0, 0)))
    for sigma in (0.02, 1.0, 15.0):
        error = np.asarray(errors(jnp.asarray(sigma), index, keys))
        products = error[:, :, None] * error[:, None]
        assert np.all(np.abs(error.mean(0)) < SIGMAS * error.std(0) / np.sqrt(n))
        assert np.all(np.abs(products.mean(0) - np.eye(5)) < SIGMAS * products.std(0) / np.sqrt(n))


@pytest.mark.slow
def test_a_network_of_zeros_is_the_closed_form(float64, rng, getkey):
    case = CASES["two sources"]()
    fresh = Conditional.create(case.denoisers, SMALL, key=getkey(), sees_operators=True)
    x_t, sigma = case.split(jnp.asarray(rng.normal(size=7))), jnp.asarray(0.7)

    def mean(conditional):
        target = target_of(case.denoisers, case.whitened(), "amortised", conditional=conditional)
        return eqx.filter_jit(target.mean)(x_t, sigma)[0]

    closed = mean(None)
    for s, x in mean(fresh).items():
        np.testing.assert_allclose(x, closed[s], rtol=1e-14)
    assert not np.allclose(mean(with_weights(fresh, getkey()))["a"], closed["a"])


def test_no_network_contradicts_precise_data(float64, rng, getkey):
    # noise of 0.01 and random outputs of order one: the data are missed by a few of its standard deviations
    case = CASES["precise data"]()
    wild = with_weights(Conditional.create(case.denoisers, SMALL, key=getkey(), sees_operators=True), getkey())
    observation = case.whitened()
    target = AmortisedPosterior.create(wild, observation)
    for sigma in (0.5, 10.0):
        x_t = case.split(jnp.asarray(sigma * rng.normal(size=7)))
        mean, _ = target.mean(x_t, jnp.asarray(sigma))
        stacked = wild.stack(x_t)
        B = target.posterior(stacked, jnp.asarray(sigma))
        F = wild.correction(stacked, jnp.asarray(sigma), B, target.posterior, None)
        closed = wild.split(B)
        moved = observation.forward({s: mean[s] - closed[s] for s in case.names})
        assert np.linalg.norm(F) > 0.1
        assert np.linalg.norm(moved) <= np.linalg.norm(F) * (1 + 1e-9)


class Counted(eqx.Module):
    """A network that counts how often it runs."""

    network: eqx.Module
    shape: tuple[int, ...] = eqx.field(static=True)
    count: list = eqx.field(static=True)

    def __call__(self, x, sigma, key=None):
        jax.debug.callback(lambda _: self.count.append(1), x.sum())
        return self.network(x, sigma, key)  # pyright: ignore


@pytest.mark.parametrize("step", ["heun", "decoupled"])
def test_a_run_costs_one_evaluation_for_each_estimate_and_no_product(step, getkey):
    case, count = CASES["two sources"](), []
    fresh = Conditional.create(case.denoisers, SMALL, key=getkey(), sees_operators=False)
    counted = eqx.tree_at(lambda c: c.network, fresh, Counted(fresh.network, fresh.network.shape, count))  # pyright: ignore
    target = AmortisedPosterior.create(counted, case.whitened())
    cost = STEPS[step]().cost(target, 3)
    run_sampler(target, STEPS[step](), SCHEDULE.levels(3), key=getkey())
    jax.effects_barrier()
    assert (len(count), 0) == (cost.forward, cost.products)


def trained(objective: PairObjective, populations, key) -> Conditional:
    # at a rate of 0.003 the largest excess below is 0.016 +- 0.004 over seeds, at this one 0.008 +- 0.0014
    config = TrainingConfig(steps=1500, batch=256, rate=1e-2)
    fresh = Conditional.create(populations, SMALL, key=key, sees_operators=not objective.shared)
    count = 1 if objective.shared else len(objective.models.values)
    found, _ = train(fresh, SCHEDULE, jnp.arange(count), config, key=key, objective=objective)
    ratios = measure_ratios(found, objective, SCHEDULE, count, key=key)
    return eqx.tree_at(lambda c: c.spread, found, ratios, is_leaf=lambda x: x is None)


@pytest.fixture(scope="module")
def learned():
    """Gaussian sources whose stand-ins are wrong, so that there is something to learn, and what was learned."""
    case = make_case({"a": Dense(np.array([[1.0, 0.5]])), "b": Dense(np.array([[0.7]]))}, std=0.3, units=False, seed=2)
    rng = np.random.default_rng(0)
    draws = {
        s: rng.multivariate_normal(case.means[s], case.covariances[s], 20_000).astype(np.float32) for s in case.names
    }
    wrong = {
        s: GaussianDenoiser.from_covariance(case.means[s] + 0.5, 2 * np.diag(np.diag(case.covariances[s])))
        for s in case.names
    }
    model = jax.jit(lambda: linear_model(wrong, case.whitened()))()
    objective = PairObjective({s: jnp.asarray(x) for s, x in draws.items()}, model, shared=True)
    return case, wrong, trained(objective, wrong, jax.random.key(3))


def excess(case: Case, conditional: Conditional, sigma: float, n: int = 500) -> float:
    """Mean squared error against the closed form, over the variance of the exact posterior."""
    rng = np.random.default_rng(1)
    mean, P = case.posterior()
    x_t = rng.multivariate_normal(mean, P + sigma**2 * np.eye(len(mean)), n)
    target = AmortisedPosterior.create(conditional, case.whitened())
    found = jax.vmap(lambda x: target.mean(case.split(x), jnp.float32(sigma))[0])(jnp.asarray(x_t, jnp.float32))
    exact = np.stack([case.posterior(x, sigma)[0] for x in x_t])
    return float(((flatten(found, case.names) - exact) ** 2).sum(1).mean() / np.trace(case.posterior(x_t[0], sigma)[1]))


@pytest.mark.parametrize("sigma", [0.3, *(pytest.param(sigma, marks=pytest.mark.slow) for sigma in (2.0, 10.0))])
def test_training_finds_the_closed_form(learned, sigma):
    case, wrong, conditional = learned
    # of the variance itself; an error of 0.02 is a mean off by a seventh of a standard deviation
    assert excess(case, conditional, sigma) < 0.02
    if sigma > 1:  # at low noise the state says it all, and the stand-ins do not matter
        assert excess(case, Conditional.gaussian(wrong), sigma) > 0.1


@pytest.mark.slow
def test_draws_of_a_trained_network_have_the_posteriors_moments(learned):
    case, wrong, conditional = learned
    P = case.posterior()[1]
    white = np.linalg.inv(np.linalg.cholesky(P))
    levels, keys = SCHEDULE.levels(48), jax.random.split(jax.random.key(0), 2000)

    def draws(target) -> np.ndarray:
        run = jax.jit(jax.vmap(lambda key: run_sampler(target, STEPS["ancestral"](), levels, key=key)[0]))
        return flatten(run(keys), case.names)

    # beside draws of the same random numbers with exact estimates, so that neither steps nor chance matter; an error of
    # 0.02 of the variance lets an estimate be off by a seventh of a deviation, and its gain by as much
    exact = draws(target_of(case.denoisers, case.whitened(), "exact"))
    for found, right in ((conditional, True), (Conditional.gaussian(wrong), False)):
        x = draws(AmortisedPosterior.create(found, case.whitened()))
        moved = np.linalg.norm(white @ (x.mean(0) - exact.mean(0)))
        spread = np.linalg.norm(white @ (np.cov(x.T) - np.cov(exact.T)) @ white.T, 2)
        assert (moved < 1 / 7 and spread < 2 / 7) == right


def test_a_draw_has_the_measured_spread(learned):
    case, _, conditional = learned
    target, sigma = AmortisedPosterior.create(conditional, case.whitened()), jnp.float32(2.0)
    x_t = case.split(jnp.ones(3))
    draw = jax.jit(jax.vmap(lambda key: target.draw(x_t, sigma, key)[0]))
    mean, _ = target.mean(x_t, sigma)
    basis, values, _ = target.posterior.moments_given(sigma)
    covariance = (basis * (values * conditional.spread(sigma))) @ basis.T
    x = flatten(draw(jax.random.split(jax.random.key(0), 4000)), case.names)
    assert_gaussian(x, flatten({s: m[None] for s, m in mean.items()}, case.names)[0], np.asarray(covariance))


@pytest.mark.slow
def test_ratios_are_what_is_left_of_the_linear_estimates_errors(learned, rng):
    draws = {"a": bimodal(rng, 4000, 3).astype(np.float32)}
    populations = {"a": matched(draws["a"])}
    objective = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), pairs(rng, draws, populations=populations))
    linear = measure_ratios(Conditional.gaussian(populations), objective, SCHEDULE, 8, key=jax.random.key(0))
    # 1,024 pairs a level; a bimodal direction has a kurtosis below a Gaussian's
    assert np.all(np.abs(np.asarray(linear.values) - 1) < SIGMAS * np.sqrt(2 / 1024) * 1.5)
    # stand-ins that were wrong: what is left is the spread of the exact posterior, and the network's own error
    case, _, conditional = learned
    sigma = jnp.float32(5.0)
    basis, values, _ = AmortisedPosterior.create(conditional, case.whitened()).posterior.moments_given(sigma)
    P = case.posterior(np.zeros(3), 5.0)[1]
    expected = np.diag(basis.T @ P @ basis) / values
    assert expected.min() < 0.5
    np.testing.assert_allclose(conditional.spread(sigma), expected, rtol=SIGMAS * np.sqrt(2 / 1024) + 0.05)


def test_a_network_for_images_keeps_their_shape(getkey, rng):
    shapes = {"a": (4, 6, 1), "b": (4, 6, 2)}
    populations = {
        s: GaussianDenoiser(np.zeros(shape), np.eye(prod(shape)), np.ones(prod(shape)), np.array(0.0))
        for s, shape in shapes.items()
    }
    config = UNetConfig(channels=(4, 8), blocks=(1, 1), heads=(0, 0), dropout=0.0)
    mixing = {s: LinearFunction(lambda x, _: x.sum(-1), shape) for s, shape in shapes.items()}
    x_t = {s: jnp.asarray(rng.normal(size=shape), jnp.float32) for s, shape in shapes.items()}

    def mean(key):
        conditional = Conditional.create(populations, config, key=key, sees_operators=False)
        observation = whiten(np.zeros((4, 6), np.float32), mixing, DiagonalNoise(0.1))
        return AmortisedPosterior.create(conditional, observation).mean(x_t, jnp.float32(1.0))[0]

    assert {s: x.shape for s, x in jax.eval_shape(mean, getkey()).items()} == shapes
    linear = Conditional.gaussian(populations)
    for s, part in linear.split(linear.stack(x_t)).items():
        np.testing.assert_array_equal(part, x_t[s])


def test_what_cannot_be_is_refused(getkey, rng):
    images = {"a": GaussianDenoiser(np.zeros((4, 4, 1)), np.eye(16), np.ones(16), np.array(0.0))}
    with pytest.raises(ValueError, match=r"shared operators; the sources have shapes .*; operators differ"):
        Conditional.create(images, UNetConfig(), key=getkey(), sees_operators=True)
    with pytest.raises(ValueError, match="a U-Net needs sources of one shape"):
        Conditional.create(
            {**images, "b": matched(rng.normal(size=(9, 3)))}, UNetConfig(), key=getkey(), sees_operators=False
        )
    case = CASES["two sources"]()
    bare = NetworkDenoiser.create((4,), SMALL, key=getkey())
    with pytest.raises(
        ValueError, match="needs a Gaussian for source 'b', and its denoiser, a NetworkDenoiser, has none"
    ):
        target_of({**case.denoisers, "b": bare}, case.whitened(), "amortised")
    other = Conditional.gaussian({"a": case.denoisers["a"]})
    with pytest.raises(ValueError, match=r"is for sources {'a': .*}, the observation mixes {'b'"):
        AmortisedPosterior.create(other, case.whitened())
