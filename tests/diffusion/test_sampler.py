"""Every sampling step on Gaussians, where the answer is known: exactly for few steps, in law for many."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import Info
from dichroic.diffusion import (
    DDIM,
    STEPS,
    Ancestral,
    Decoupled,
    DenoiserPrior,
    GaussianDenoiser,
    Heun,
    PredictorCorrector,
    PriorTarget,
    Resampled,
    Scaling,
    Schedule,
    run_sampler,
)
from oracles import Tally, assert_gaussian, random_covariance

pytestmark = pytest.mark.usefixtures("float64")

EXAMPLES = {
    "ddim": [DDIM()],
    "ancestral": [Ancestral()],
    "heun": [Heun()],
    "pc": [PredictorCorrector(), PredictorCorrector(corrections=2, tau=0.05)],
    "decoupled": [Decoupled()],
    "resampled": [Resampled(jumps=2)],
}
ALL = [pytest.param(step, id=f"{name}-{i}") for name, steps in EXAMPLES.items() for i, step in enumerate(steps)]


@pytest.mark.parametrize("name", STEPS)
def test_every_registered_step_has_an_example(name):
    assert EXAMPLES.get(name), f"add an example of '{name}'"
    assert all(type(step) is STEPS[name] for step in EXAMPLES[name])


@pytest.fixture
def population(rng):
    """A skewed and correlated Gaussian off the origin."""
    return np.array([1.5, -0.4, 0.2]), random_covariance(rng, 3)


def target_of(mean, S) -> PriorTarget:
    return PriorTarget({"x": GaussianDenoiser.from_covariance(mean, S)})


def sample(target, step, levels, n, key, start=None):
    @jax.jit
    def run(keys, start):
        one = lambda key, x: run_sampler(target, step, levels, key=key, start=x)[0]["x"]  # noqa: E731
        return jax.vmap(one, in_axes=(0, None if start is None else 0))(keys, start)

    return np.asarray(run(jax.random.split(key, n), start))


@pytest.mark.slow
@pytest.mark.parametrize("step", ALL)
def test_many_steps_sample_the_population(step, population, getkey):
    mean, S = population
    draws = sample(target_of(mean, S), step, Schedule(1e-3, 50.0).levels(192), 4096, getkey())
    assert_gaussian(draws, mean, S)


def recursion(step, variance: float, mean: float, levels) -> tuple[float, float]:
    """Mean and variance of a scalar Gaussian source after a run, by hand, level by level."""

    def slope(sigma):  # of x - D(x), about the mean
        return sigma**2 / (variance + sigma**2)

    m, v = 0.0, levels[0] ** 2
    for t, s in pairwise(levels):
        if isinstance(step, Ancestral):
            tau = 1 - s**2 / t**2
            factors = [(1 - tau * slope(t), s**2 * tau)]
        elif isinstance(step, DDIM):
            factors = [(1 - (1 - s / t) * slope(t), 0.0)]
        elif isinstance(step, Heun):
            euler = 1 - (1 - s / t) * slope(t)
            factors = [(1 + (s - t) / 2 * (slope(t) / t + slope(s) * euler / s), 0.0)]
        elif isinstance(step, PredictorCorrector):
            factors = [(1 - (1 - s / t) * slope(t), 0.0)]
            factors += [(1 - step.tau * slope(s), 2 * step.tau * s**2)] * step.corrections
        elif isinstance(step, Resampled):
            tau = 1 - s**2 / t**2
            bridge = (1 - tau * slope(t), s**2 * tau)
            factors = [bridge, *[(1.0, t**2 - s**2), bridge] * step.jumps]
        else:
            gain = variance / (variance + t**2)
            factors = [(gain, variance * (1 - gain) + s**2)]
        for factor, noise in factors:
            m, v = mean + factor * (m - mean), factor**2 * v + noise
    gain = variance / (variance + levels[-1] ** 2)
    rest = variance * (1 - gain) if isinstance(step, Decoupled) else 0.0
    for _ in range(step.jumps if isinstance(step, Resampled) else 0):
        m, v = mean + gain * (m - mean), gain**2 * v + levels[-1] ** 2
    return mean + gain * (m - mean), gain**2 * v + rest


@pytest.mark.parametrize("step", ALL)
@pytest.mark.parametrize("steps", [1, 4])
def test_few_steps_do_what_the_formulas_say(step, steps, getkey):
    # large last level and few steps: every factor and every noise amplitude matters
    levels, variance, mean = Schedule(0.3, 4.0).levels(steps), 0.8, 1.3
    draws = sample(target_of(np.array([mean]), np.array([[variance]])), step, levels, 20_000, getkey())
    m, v = recursion(step, variance, mean, levels)
    assert_gaussian(draws, np.array([m]), np.array([[v]]))


@pytest.mark.parametrize("step, order", [(DDIM(), 1), (Heun(), 2)], ids=["ddim", "heun"])
def test_order_of_convergence_to_the_flow(step, order, population, rng):
    mean, S = population
    values, Q = np.linalg.eigh(S)
    schedule = Schedule(0.05, 20.0)
    start = mean + 20 * rng.normal(size=3)
    # the flow keeps every coordinate's share of its standard deviation; the run then returns the denoised state
    end = mean + Q @ (np.sqrt((values + 0.05**2) / (values + 20.0**2)) * (Q.T @ (start - mean)))
    exact = mean + Q @ (values / (values + 0.05**2) * (Q.T @ (end - mean)))
    errors = []
    for steps in (64, 128, 256):
        x, _ = run_sampler(
            target_of(mean, S), step, schedule.levels(steps), key=jax.random.key(0), start={"x": jnp.asarray(start)}
        )
        errors.append(np.linalg.norm(x["x"] - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.15)


def test_second_slope_of_heun_is_at_the_new_level(population, rng):
    mean, S = population
    denoiser = GaussianDenoiser.from_covariance(mean, S)
    x, t, s = jnp.asarray(rng.normal(size=3)), jnp.asarray(2.0), jnp.asarray(0.7)
    first = (x - denoiser(x, t)) / t
    euler = x + (s - t) * first
    second = (euler - denoiser(euler, s)) / s
    got, _ = Heun()(PriorTarget({"x": denoiser}), {"x": x}, t, s, jax.random.key(0))
    np.testing.assert_allclose(got["x"], x + (s - t) * (first + second) / 2, atol=1e-12)


def test_decoupled_is_exact_with_two_steps(population, getkey):
    mean, S = population
    draws = sample(target_of(mean, S), Decoupled(), Schedule(0.5, 300.0).levels(2), 20_000, getkey())
    assert_gaussian(draws, mean, S)


def test_a_given_start_is_used(population, getkey, rng):
    mean, S = population
    start = {"x": jnp.asarray(mean + rng.normal(size=(2, 3)))}
    levels = Schedule(0.1, 1.0).levels(3)
    draws = sample(target_of(mean, S), DDIM(), levels, 2, getkey(), start)
    assert not np.allclose(draws[0], draws[1])
    again = sample(target_of(mean, S), DDIM(), levels, 2, getkey(), start)
    np.testing.assert_allclose(draws, again, atol=1e-12)  # nothing random is left


@pytest.mark.parametrize("step", ALL)
@pytest.mark.parametrize("steps, end", [(1, 0.0), (3, 0.0), (3, 0.05)])
def test_the_declared_cost_is_what_runs(step, steps, end, rng):
    tally = Tally()
    target = PriorTarget(
        {
            s: tally.wrap(s, GaussianDenoiser.from_covariance(np.zeros(d), np.eye(d)))
            for s, d in {"a": 3, "b": 2}.items()
        }
    )
    run_sampler(target, step, Schedule(0.1, 5.0).levels(steps), key=jax.random.key(0), end=end)
    jax.effects_barrier()
    cost = step.cost(target, steps, end == 0)
    assert tally.forward == {"a": cost.forward, "b": cost.forward}
    assert max(tally.products.values()) == cost.products


@pytest.mark.slow
def test_draws_of_a_large_source_are_lanczos_draws_at_the_declared_cost(getkey):
    # two distinct eigenvalues: two Lanczos products would be exact, and four are spent
    d = 20
    S = np.diag(np.r_[np.full(12, 2.0), np.full(8, 0.3)])
    mean = np.linspace(-1, 1, d)
    tally = Tally()
    target = PriorTarget({"x": tally.wrap("x", GaussianDenoiser.from_covariance(mean, S))})
    target.draw({"x": jnp.zeros(d)}, jnp.asarray(1.0), getkey())
    jax.effects_barrier()
    assert (tally.forward["x"], tally.products["x"]) == (target.draw_cost.forward, target.draw_cost.products)
    draws = sample(target_of(mean, S), Decoupled(), Schedule(0.5, 300.0).levels(2), 20_000, getkey())
    assert_gaussian(draws, mean, S)


def test_a_run_that_ends_at_a_level_can_be_continued(population):
    # a deterministic step: two runs, the second from where the first ended, are one
    target, levels, key = target_of(*population), Schedule(0.01, 10.0).levels(6), jax.random.key(6)
    whole, _ = run_sampler(target, DDIM(), levels, key=key)
    half, _ = run_sampler(target, DDIM(), levels[:3], key=key, end=levels[3])
    rest, _ = run_sampler(target, DDIM(), levels[3:], key=key, start=half)
    np.testing.assert_allclose(rest["x"], whole["x"], rtol=1e-12)


@pytest.mark.parametrize("step", ALL)
def test_levels_beyond_the_steps_asked_for_are_ignored(step, population):
    # cold and warm runs share one compiled program this way
    target, levels, key = target_of(*population), Schedule(0.01, 10.0).levels(5), jax.random.key(6)
    padded = np.concatenate([levels, np.full(4, 1e3)])
    run = jax.jit(lambda levels, steps: run_sampler(target, step, levels, key=key, steps=steps)[0]["x"])
    np.testing.assert_allclose(run(padded, 5), run(levels, 5), atol=1e-12)
    plain = jax.jit(lambda: run_sampler(target, step, levels, key=key)[0]["x"])()
    np.testing.assert_allclose(run(padded, 5), plain, atol=1e-12)
    assert not np.allclose(run(padded, 3), plain)


@pytest.mark.parametrize("step", ALL)
def test_a_draw_does_not_depend_on_its_batch(step, population):
    keys = jax.random.split(jax.random.key(3), 4)
    levels = Schedule(0.01, 10.0).levels(5)
    target = target_of(*population)
    one = jax.jit(jax.vmap(lambda key: run_sampler(target, step, levels, key=key)[0]["x"]))
    together, others = one(keys), one(jnp.concatenate([jax.random.split(jax.random.key(4), 3), keys[2:3]]))
    np.testing.assert_array_equal(together[2], others[3])
    assert len(np.unique(np.asarray(together)[:, 0])) == 4


def test_info_merges():
    a, b = Info(jnp.asarray(0.5), jnp.asarray(1)), Info(jnp.asarray(0.2), jnp.asarray(3))
    assert float(a.merge(b).residual) == 0.5
    assert int(b.merge(a).stopped) == 4


@pytest.mark.parametrize("start", [None, 2.0, 1e9])
def test_levels_fall_evenly_in_log(start):
    schedule = Schedule(1e-3, 1e2)
    levels = schedule.levels(10, start)
    np.testing.assert_allclose(levels[[0, -1]], [min(start or 1e2, 1e2), 1e-3])
    np.testing.assert_allclose(np.diff(np.log(levels)), np.log(levels[-1] / levels[0]) / 10)
    with pytest.raises(ValueError, match="at least one step"):
        schedule.levels(0)


def test_training_levels_are_beta_distributed(getkey):
    schedule, n = Schedule(1e-3, 1e2), 20_000
    sigma = jax.vmap(schedule.training_sigma)(jax.random.split(getkey(), n))
    t = np.log(np.asarray(sigma) / 1e-3) / np.log(1e5)
    assert abs(t.mean() - 0.5) < 4.5 * np.sqrt(1 / 28 / n)  # Beta(3, 3): mean 1/2, variance 1/28, kurtosis 7/3
    assert abs(t.var() - 1 / 28) < 4.5 / 28 * np.sqrt((7 / 3 - 1) / n)


@pytest.mark.parametrize("arguments", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
def test_impossible_schedules_are_refused(arguments):
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        Schedule(*arguments)


@pytest.mark.slow
def test_prior_samples_come_in_the_users_units(population, getkey):
    mean, S = population
    prior = DenoiserPrior(GaussianDenoiser.from_covariance(mean, S), Schedule(1e-3, 50.0), Scaling(100.0, 7.0))
    draws = np.asarray(prior.sample(4096, key=getkey(), step=Decoupled(), steps=3))
    assert_gaussian(draws, 100 + 7 * mean, 49 * S)
