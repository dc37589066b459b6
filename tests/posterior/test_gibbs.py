"""Sources drawn in turn: on Gaussian sources the chain has a law in closed form, after any number of rounds."""

from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import Info
from dichroic.diffusion import (
    Decoupled,
    DenoiserPrior,
    GaussianDenoiser,
    PredictorCorrector,
    Scaling,
    Schedule,
    run_sampler,
)
from dichroic.operators import Dense, DiagonalNoise, PerSample
from dichroic.posterior import Gibbs, MomentMatching, gibbs_rounds, observation_keys
from dichroic.problem import View
from oracles import Tally, assert_gaussian, flatten
from posterior_cases import CASES, Case, make_case, target_of, whiten

LEVELS = Schedule(1e-3, 100.0).levels(4)  # decoupled steps are exact on Gaussians at any number
SEVERAL = {name: make for name, make in CASES.items() if len(make().names) > 1}


def chain(case: Case, method: str = "exact"):
    """A function of rounds and number: so many independent chains from zero, stacked."""
    whitened = case.whitened()

    def draw(residual, key):
        return run_sampler(target_of(case.denoisers, residual, method), Decoupled(), LEVELS, key=key)

    def one(key, rounds):
        zeros = {s: jnp.zeros(shape) for s, shape in case.shapes.items()}
        return gibbs_rounds(whitened, draw, zeros, rounds, key=key)[0]

    compiled = jax.jit(jax.vmap(one, (0, None)))
    return lambda rounds, n: flatten(compiled(jax.random.split(jax.random.key(1), n), rounds), case.names)


def law(mean: np.ndarray, covariance: np.ndarray, sizes: list[int], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a Gibbs chain for N(mean, covariance), block by block, started at zero."""
    precision = np.linalg.inv(covariance)
    ends = np.cumsum([0, *sizes])
    m, C = np.zeros(len(mean)), np.zeros_like(covariance)
    for _ in range(rounds):
        for begin, end in pairwise(ends):
            own = np.arange(len(mean))[begin:end]
            conditional = np.linalg.inv(precision[np.ix_(own, own)])
            T = np.eye(len(mean))  # x_own <- mean_own - conditional precision_own,others (x_others - mean_others)
            T[own] = -conditional @ precision[own]
            T[np.ix_(own, own)] = 0
            shift = mean - T @ mean
            shift[np.setdiff1d(np.arange(len(mean)), own)] = 0
            m, C = T @ m + shift, T @ C @ T.T
            C[np.ix_(own, own)] += conditional
    return m, C


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SEVERAL)
def test_residuals_see_what_the_known_sources_leave(name):
    case = SEVERAL[name]()
    whitened, rng = case.whitened(), np.random.default_rng(0)
    z = {s: jnp.asarray(rng.normal(size=shape)) for s, shape in case.shapes.items()}
    for s in case.names:
        others = {c: x for c, x in z.items() if c != s}
        residual = whitened.given(others)
        assert list(residual.shapes) == [s]
        np.testing.assert_allclose(residual.y, whitened.y - whitened.forward(others), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(residual.forward({s: z[s]}), whitened.forward({s: z[s]}), rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(residual.observed, whitened.observed)
    np.testing.assert_array_equal(whitened.given({}).y, whitened.y)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_two_scalars():
    """Known numbers: a round leaves the squared correlation, 0.711, of the error of the mean."""
    mixing = {"x": Dense(np.array([[1.0]])), "n": Dense(np.array([[2.0]]))}
    unit, one = {s: Scaling() for s in mixing}, np.zeros(1)
    variances = {"x": np.array([[1.0]]), "n": np.array([[0.5]])}
    case = Case(
        mixing, np.array([3.0]), DiagonalNoise(0.5), np.array([[0.25]]), None, {"x": one, "n": one}, variances, unit
    )
    mean, covariance = case.posterior()
    np.testing.assert_allclose(mean, [12 / 13, 12 / 13])
    np.testing.assert_allclose(covariance, [[9 / 13, -4 / 13], [-4 / 13, 2.5 / 13]])
    draws = chain(case)
    for rounds in (1, 2, 40):
        expected = law(mean, covariance, [1, 1], rounds)
        assert expected[0][1] == pytest.approx(12 / 13 * (1 - (16 / 22.5) ** rounds))
        assert_gaussian(draws(rounds, 8000), *expected)
    np.testing.assert_allclose(expected[1], covariance, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["exact", "krylov"])
def test_rounds_converge_to_the_target_of(method):
    rng = np.random.default_rng(3)
    case = make_case({s: Dense(rng.normal(size=(3, d))) for s, d in (("c", 3), ("a", 2), ("b", 2))}, std=1.0)
    mean, covariance = case.posterior()
    draws, sizes = chain(case, method), [prod(shape) for shape in case.shapes.values()]
    for rounds in (1, 3):  # far from it still, and with the chain's own law
        expected = law(mean, covariance, sizes, rounds)
        assert np.abs(expected[0] - mean).max() > 0.1
        assert_gaussian(draws(rounds, 2000), *expected)
    m, C = law(mean, covariance, sizes, 30)
    assert np.all(np.abs(m - mean) < 5e-3 * np.sqrt(np.diag(covariance)))  # a fourth of a standard error of 2000 draws
    np.testing.assert_allclose(C, covariance, atol=1e-3 * np.diag(covariance).max())
    assert_gaussian(draws(30, 2000), mean, covariance)


def test_a_failed_draw_leaves_what_was_there():
    whitened = whiten(np.zeros(2), {"a": Dense(np.eye(2)), "b": Dense(np.eye(2))}, DiagonalNoise(1.0))
    bad = {"a": np.array([1.0, np.nan]), "b": np.array([11.0, 0.0])}
    start = {"a": jnp.ones(2), "b": jnp.full(2, 2.0)}

    def draw(residual, key):
        (name,) = residual.shapes
        return {name: jnp.asarray(bad[name])}, Info(jnp.asarray(0.5), jnp.asarray(1, jnp.int32))

    z, info = gibbs_rounds(whitened, draw, start, 3, key=jax.random.key(0))
    np.testing.assert_array_equal(z["a"], [1, 1])
    np.testing.assert_array_equal(z["b"], [2, 2])
    assert float(info.residual) == 0.5 and int(info.stopped) == 6


def problem(n: int):
    """One observation of two Gaussian sources, `n` times, with its posterior, and that of the chain."""
    rng = np.random.default_rng(5)
    case = make_case({s: Dense(rng.normal(size=(3, 2))) for s in ("a", "b")}, std=0.5)
    view = View(
        np.tile(case.y, (n, 1)).astype(np.float32),
        {s: Dense(op.matrix.astype(np.float32)) for s, op in case.mixing.items()},  # pyright: ignore
        case.noise,
    ).bind(case.shapes)
    priors = {
        s: DenoiserPrior(
            jax.tree.map(lambda a: np.asarray(a, np.float32), case.denoisers[s]), Schedule(), case.scalings[s]
        )
        for s in case.names
    }
    return case, view, priors


def scaled(case: Case, samples) -> np.ndarray:
    return flatten({s: case.scalings[s].to_scaled(x) for s, x in samples.items()}, case.names).astype(float)


@pytest.mark.slow
def test_the_e_step_draws_in_rounds():
    case, view, priors = problem(6000)
    mean, covariance = case.posterior()
    method = Gibbs(rounds=2, inner=MomentMatching(steps=6, warm_steps=6))
    bound = method.bind(view, priors, key=jax.random.key(0))
    drawn = bound.draw(observation_keys(jax.random.key(2), len(view)))
    expected = law(mean, covariance, [2, 2], 2)
    assert np.abs(expected[0] - mean).max() > 10 * np.sqrt(covariance.max() / len(view))
    assert_gaussian(scaled(case, drawn.samples), *expected)
    assert drawn.cost.forward == 2 * 7 and not drawn.diverged.any()
    # rounds from draws of the posterior give some of the posterior, and rounds from elsewhere do not
    exact = np.random.default_rng(0).multivariate_normal(mean, covariance, size=len(view))
    for offset, invariant in ((0.0, True), (2.0, False)):
        start = {s: case.scalings[s].to_user(x).astype(np.float32) for s, x in case.split(exact + offset).items()}
        x = scaled(case, bound.draw(observation_keys(jax.random.key(3), len(view)), start=start).samples)
        if invariant:
            assert_gaussian(x, mean, covariance)
        else:
            assert np.abs(x.mean(0) - mean).max() > 10 * np.sqrt(covariance.max() / len(x))


def test_evaluations_are_counted():
    rng, tally = np.random.default_rng(0), Tally()
    y = rng.normal(size=(1, 2)).astype(np.float32)
    sizes = {"a": 3, "b": 2}
    mixing = {s: PerSample(Dense(rng.normal(size=(1, 2, d)).astype(np.float32))) for s, d in sizes.items()}
    view = View(y, mixing, 0.3).bind({s: (d,) for s, d in sizes.items()})
    unit = {
        s: GaussianDenoiser.from_covariance(*(a.astype(np.float32) for a in (np.zeros(d), np.eye(d))))
        for s, d in sizes.items()
    }
    priors = {s: DenoiserPrior(tally.wrap(s, denoiser), Schedule()) for s, denoiser in unit.items()}
    inner = MomentMatching(covariance="krylov", steps=4, step=PredictorCorrector(), iterations=2)
    bound = Gibbs(rounds=3, inner=inner, batch=1).bind(view, priors, key=jax.random.key(0))
    drawn = bound.draw(observation_keys(jax.random.key(0), 1))
    jax.effects_barrier()
    assert tally.forward == {s: drawn.cost.forward for s in sizes} == dict.fromkeys(sizes, 3 * (2 * 4 + 1))
    assert tally.products == {s: drawn.cost.products for s in sizes} == dict.fromkeys(sizes, 2 * 27)
    assert drawn.summary["evaluations"] == 81
