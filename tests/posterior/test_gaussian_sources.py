"""Every posterior method against the closed form on Gaussian sources, in double precision."""

from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import (
    ComponentsDenoiser,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Scaling,
    Schedule,
)
from dichroic.operators import Dense, DiagonalNoise, Mask
from dichroic.posterior import COVARIANCES, MomentMatching
from dichroic.posterior.moments import covariance_for
from dichroic.white import WhitenedObservation
from oracles import Tally, assert_gaussian, flatten
from posterior_cases import CASES, Case, make_case, target_of, whiten
from posterior_cases import WAYS as EVERY_WAY

pytestmark = pytest.mark.usefixtures("float64")

# how each method is made exact: as many iterations as there are dimensions
EXACT = {
    "exact": [lambda shapes, data: {}],
    "surrogate": [lambda shapes, data: {}, lambda shapes, data: {"alike": True}],
    "krylov": [
        lambda shapes, data: {
            "iterations": 2 * min(data, sum(map(prod, shapes.values()))) + 4,
            "root_iterations": max(map(prod, shapes.values())),
        }
    ],
    "candidates": [lambda shapes, data: {}],  # a Gaussian is a mixture of one component
    "amortised": [lambda shapes, data: {}],  # without a network
}
WAYS = [pytest.param(name, way, id=f"{name}-{i}") for name, ways in EXACT.items() for i, way in enumerate(ways)]
# those that take the covariance from the denoiser itself, whatever it is
OF_THE_DENOISER = [way for way in WAYS if way.values[0] in ("exact", "krylov")]
FEW = ["leading directions", "missing complex data", "dense noise, missing data"]
SIGMAS = np.array([0.05, 1.0, 30.0])

every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
every_method = pytest.mark.parametrize("method, way", WAYS)


def build(denoisers, whitened: WhitenedObservation, method: str, way):
    return target_of(denoisers, whitened, method, **way(whitened.shapes, len(whitened.y)))


def posterior_of(case: Case, method: str, way):
    return build(case.denoisers, case.whitened(), method, way)


def mean_of(make):
    """The target is made in the program that evaluates it: outside, every operation would be one."""
    return jax.jit(lambda x_t, sigma: make().mean(x_t, sigma))


def states(case: Case, rng) -> np.ndarray:
    """One state for each of `SIGMAS`, shape `(3, d)`."""
    mean, S = case.prior()
    x = rng.multivariate_normal(mean, S, size=len(SIGMAS))
    return x + SIGMAS[:, None] * rng.normal(size=x.shape)


@pytest.mark.parametrize("name", EVERY_WAY)
def test_every_registered_method_is_tested(name):
    assert EXACT.get(name), f"say how '{name}' is made exact"


@every_case
@every_method
def test_mean_is_the_closed_form(make, method, way, rng):
    case = make()
    x_t = states(case, rng)
    posterior = mean_of(lambda: posterior_of(case, method, way))
    mean, info = jax.jit(jax.vmap(posterior))(case.split(x_t), SIGMAS)
    expected = np.stack([case.posterior(x, sigma)[0] for x, sigma in zip(x_t, SIGMAS, strict=True)])
    np.testing.assert_allclose(flatten(mean, case.names), expected, rtol=1e-10, atol=1e-10)
    assert not np.any(info.stopped)
    assert np.all(np.asarray(info.residual) < 1e-10)


@pytest.mark.parametrize("name", FEW)
@every_method
def test_draws_have_the_closed_forms_moments(name, method, way, rng):
    case, n, sigma = CASES[name](), 4000, 1.0
    x_t = states(case, rng)[1]
    state = case.split(jnp.asarray(x_t))
    keys = jax.random.split(jax.random.key(5), n)
    draw = jax.jit(jax.vmap(lambda key: posterior_of(case, method, way).draw(state, jnp.asarray(sigma), key)[0]))
    assert_gaussian(flatten(draw(keys), case.names), *case.posterior(x_t, sigma))


@every_method
def test_block_form_is_the_stacked_single_source(method, way, rng):
    case = CASES["dense noise, missing data"]()
    case.scalings = {s: Scaling() for s in case.names}
    mean, S = case.prior()
    stacked = Case(
        {"u": Dense(np.concatenate([case.mixing[s].matrix for s in case.names], axis=1))},
        case.y,
        case.noise,
        case.noise_covariance,
        case.observed,
        {"u": mean},
        {"u": S},
        {"u": Scaling()},
    )
    x_t, sigma = states(case, rng)[1], jnp.asarray(1.0)
    blocks, _ = mean_of(lambda: posterior_of(case, method, way))(case.split(jnp.asarray(x_t)), sigma)
    whole, _ = mean_of(lambda: posterior_of(stacked, method, way))({"u": jnp.asarray(x_t)}, sigma)
    np.testing.assert_allclose(flatten({s: x[None] for s, x in blocks.items()}, case.names)[0], whole["u"], atol=1e-10)


@pytest.mark.parametrize("method, way", OF_THE_DENOISER)
@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_one_source_and_one_view_is_the_mmps_formula(method, way, sigma, rng):
    # a mixture: the Jacobian changes with x_t, and nothing is Gaussian
    covariances = np.stack([np.diag([0.5, 0.1, 0.2]), np.diag([0.1, 0.4, 0.1])])
    denoiser = ComponentsDenoiser.from_covariances(np.array([0.7, 0.3]), rng.normal(size=(2, 3)), covariances)
    A, std, y = rng.normal(size=(2, 3)), 0.2, rng.normal(size=2)
    whitened = whiten(y, {"x": Dense(A)}, DiagonalNoise(std))
    x_t, level = rng.normal(size=3), jnp.asarray(sigma)
    D, J = map(np.asarray, jax.jit(lambda x: (denoiser(x, level), jax.jacfwd(denoiser)(x, level)))(x_t))
    C = std**2 * np.eye(2) + sigma**2 * A @ J.T @ A.T
    expected = D + sigma**2 * J.T @ A.T @ np.linalg.solve(C, y - A @ D)
    mean, _ = mean_of(lambda: build({"x": denoiser}, whitened, method, way))({"x": x_t}, level)
    np.testing.assert_allclose(mean["x"], expected, atol=1e-10)


def single(rng, operator, mean, diagonal, std):
    """A source with a diagonal covariance, observed once."""
    denoiser = GaussianDenoiser.from_covariance(mean, np.diag(diagonal))
    y = rng.normal(size=operator.out_shape)
    whitened = whiten(y, {"x": operator}, DiagonalNoise(std))
    return (
        jax.jit(lambda x_t, sigma: denoiser(x_t, sigma)),
        y,
        lambda method, way: mean_of(lambda: build({"x": denoiser}, whitened, method, way)),
    )


@every_method
@pytest.mark.parametrize("sigma", [0.3, 4.0])
def test_an_isotropic_source_is_pigdm(method, way, sigma, rng):
    A, mean, c, std = rng.normal(size=(3, 4)), rng.normal(size=4), 1.7, 0.4
    denoiser, y, make = single(rng, Dense(A), mean, np.full(4, c), std)
    x_t, level = jnp.asarray(rng.normal(size=4)), jnp.asarray(sigma)
    D, r2 = np.asarray(denoiser(x_t, level)), c * sigma**2 / (c + sigma**2)
    expected = D + r2 * A.T @ np.linalg.solve(std**2 * np.eye(3) + r2 * A @ A.T, y - A @ D)
    np.testing.assert_allclose(make(method, way)({"x": x_t}, level)[0]["x"], expected, atol=1e-10)


@every_method
def test_a_flat_source_is_dmps(method, way, rng):
    A, std, sigma = rng.normal(size=(3, 4)), 0.4, 0.6
    _, y, make = single(rng, Dense(A), np.zeros(4), np.full(4, 1e9), std)
    x_t = rng.normal(size=4)
    expected = x_t + sigma**2 * A.T @ np.linalg.solve(std**2 * np.eye(3) + sigma**2 * A @ A.T, y - A @ x_t)
    mean, _ = make(method, way)({"x": jnp.asarray(x_t)}, jnp.asarray(sigma))
    np.testing.assert_allclose(mean["x"], expected, atol=1e-7)  # the source's variance is finite


@every_method
def test_a_diagonal_source_under_a_mask_is_tmpd(method, way, rng):
    weight, mean, diagonal, std, sigma = (
        np.array([1.0, 0, 1, 0.5]),
        rng.normal(size=4),
        rng.uniform(0.2, 2, 4),
        0.4,
        0.6,
    )
    denoiser, y, make = single(rng, Mask(weight), mean, diagonal, std)
    x_t = jnp.asarray(rng.normal(size=4))
    D, V = np.asarray(denoiser(x_t, jnp.asarray(sigma))), diagonal * sigma**2 / (diagonal + sigma**2)
    expected = D + V * weight / (std**2 + weight * V * weight) * (y - weight * D)
    np.testing.assert_allclose(make(method, way)({"x": x_t}, jnp.asarray(sigma))[0]["x"], expected, atol=1e-10)


@every_method
@pytest.mark.parametrize("name", ["two sources"])
def test_the_declared_cost_is_what_runs(method, way, name, rng):
    case, tally = CASES[name](), Tally()
    target = posterior_of(case, method, way)
    if method in ("candidates", "amortised"):  # they hold no denoiser at all
        assert target.mean_cost.total == target.draw_cost.total == 0
        return
    counted = {s: tally.wrap(s, denoiser) for s, denoiser in case.denoisers.items()}
    target = eqx.tree_at(lambda t: t.covariance.denoisers, target, counted)
    x_t = case.split(jnp.asarray(states(case, rng)[1]))
    for run, cost in (
        (jax.jit(lambda: target.mean(x_t, jnp.asarray(1.0))), target.mean_cost),
        (jax.jit(lambda: target.draw(x_t, jnp.asarray(1.0), jax.random.key(0))), target.draw_cost),
    ):
        for s in case.names:
            tally.forward[s] = tally.products[s] = 0
        jax.block_until_ready(run())
        jax.effects_barrier()
        assert set(tally.forward.values()) == {cost.forward}
        assert max(tally.products.values()) == cost.products


@every_method
def test_the_start_is_noise_in_every_source(method, way):
    target = posterior_of(CASES["two sources"](), method, way)
    start = jax.jit(jax.vmap(lambda key: target.start(jnp.asarray(3.0), key)))
    x = start(jax.random.split(jax.random.key(1), 4000))
    assert_gaussian(flatten(x, ["a", "b"]), np.zeros(7), 9 * np.eye(7))


def test_names_that_do_not_exist_are_errors():
    case = CASES["two sources"]()
    with pytest.raises(ValueError, match="no prior for source 'b'"):
        MomentMatching().posterior({"a": case.denoisers["a"]}, case.whitened(), Schedule())
    with pytest.raises(ValueError, match="unknown covariance 'magic'; known: auto, exact, surrogate, krylov"):
        MomentMatching(covariance="magic")


def test_priors_of_sources_that_do_not_enter_are_ignored(rng):
    case = CASES["one source"]()
    extra = {**CASES["two sources"]().denoisers, **case.denoisers}
    x_t = case.split(states(case, rng)[1])
    mean, _ = mean_of(lambda: target_of(extra, case.whitened(), "auto"))(x_t, 1.0)
    assert list(mean) == ["a"]


def test_the_method_chosen_is_the_best_there_is(getkey):
    small = GaussianDenoiser.from_covariance(np.zeros(16), np.eye(16))
    large = GaussianDenoiser.from_covariance(np.zeros(17), np.eye(17))
    bare = LowRankGaussianDenoiser(np.zeros(17), np.ones(17), np.zeros((17, 1)))
    network = NetworkDenoiser.create((17,), MLPConfig(width=4, depth=1), key=getkey())
    assert covariance_for("auto", {"a": small}) is COVARIANCES["exact"]
    assert covariance_for("auto", {"a": small, "b": large}) is COVARIANCES["surrogate"]
    for denoisers in ({"a": large, "b": bare}, {"b": network}):
        assert covariance_for("auto", denoisers) is COVARIANCES["krylov"]


def test_the_surrogate_needs_a_covariance():
    case = CASES["one source"]()
    bare = LowRankGaussianDenoiser(np.zeros(4), np.ones(4), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="for source 'a', and its prior has none"):
        target_of({"a": bare}, case.whitened(), "surrogate")


def test_a_posterior_can_be_an_argument_of_a_compiled_function(rng):
    case = make_case({"a": Dense(rng.normal(size=(2, 3)))})
    target = target_of(case.denoisers, case.whitened(), "auto")
    x_t = case.split(jnp.asarray(rng.normal(size=3)))
    run = eqx.filter_jit(lambda target, x_t: target.mean(x_t, jnp.asarray(1.0))[0])
    expected = mean_of(lambda: target_of(case.denoisers, case.whitened(), "auto"))(x_t, 1.0)[0]["a"]
    np.testing.assert_allclose(run(target, x_t)["a"], expected, atol=1e-12)
