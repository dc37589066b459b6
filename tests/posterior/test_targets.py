"""Every target of annealing, and every step of a method's own: one step against its formula, written out in NumPy."""

from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import Ancestral, GaussianDenoiser, noise_like
from dichroic.operators import Dense, DiagonalNoise, Mask
from dichroic.posterior import DPS, MCG, METHODS, TARGETS, SplitGibbs, Targeted, read_method
from dichroic.posterior.modelled import System
from oracles import MatrixDenoiser, Tally, assert_gaussian, flatten
from posterior_cases import CASES, make_case, whiten

pytestmark = pytest.mark.usefixtures("float64")

NAMES, SIZES, SIGMA, STD = ["b", "a"], [3, 2], 0.7, 0.4
JACOBIANS = {s: np.random.default_rng(k).normal(size=(d, d)) for k, (s, d) in enumerate(zip(NAMES, SIZES, strict=True))}
# other settings than the usual ones: that they are heeded is seen
SETTINGS: dict[str, dict[str, Any]] = {"pigdm": {"variance": 1.7}, "sda": {"gamma": 0.3}, "diffpir": {"weight": 8.0}}
KINDS = [kind for kind, cls in METHODS.items() if kind != "annealed" and issubclass(cls, Targeted)]
EVERY = [*TARGETS, *KINDS]


class Linear(MatrixDenoiser):
    """A Jacobian that is neither symmetric nor positive, beside a Gaussian that stands for the source."""

    population_: GaussianDenoiser

    def gaussian(self):
        return self.population_

    def moments_given(self, sigma):
        return self.population_.moments_given(sigma)


def method_named(name: str) -> Targeted:
    table = {"kind": "annealed", "target": name} if name in TARGETS else {"kind": name}
    found = read_method(table | SETTINGS.get(name, {}))
    assert isinstance(found, Targeted)
    return found


def built(name: str, denoisers, whitened):
    method = method_named(name)
    return method.build(method.prepared(denoisers), whitened, False)


@pytest.fixture(scope="module")
def example():
    """Two sources of linear denoisers, three data; all that the formulas are made of."""
    rng = np.random.default_rng(1)
    A = {s: rng.normal(size=(3, d)) for s, d in zip(NAMES, SIZES, strict=True)}
    y, x_t = rng.normal(size=3), {s: rng.normal(size=d) for s, d in zip(NAMES, SIZES, strict=True)}
    S = {s: np.diag(rng.uniform(0.3, 2, d)) for s, d in zip(NAMES, SIZES, strict=True)}
    return A, y, x_t, S


def denoisers_of(S):
    return {s: Linear(JACOBIANS[s], GaussianDenoiser.from_covariance(np.zeros(len(S[s])), S[s])) for s in NAMES}


def parts(example):
    """Stacked and white: `A`, `y`, `x_t`, `D`, `J`, and the covariance `W` of Gaussian sources given their states."""
    A, y, x_t, S = example
    stacked = np.concatenate([A[s] for s in NAMES], axis=1) / STD
    x, J = np.concatenate([x_t[s] for s in NAMES]), np.zeros((5, 5))
    J[:3, :3], J[3:, 3:] = (JACOBIANS[s] for s in NAMES)
    v = np.concatenate([np.diag(S[s]) for s in NAMES])
    return stacked, y / STD, x, J @ x, J, np.diag(v * SIGMA**2 / (v + SIGMA**2))


def guided(A, y, D, J, C):
    return D + SIGMA**2 * J.T @ A.T @ np.linalg.solve(C, y - A @ D)


def shifted(A, y, D, V, at=None):
    return D + V @ A.T @ np.linalg.solve(np.eye(3) + A @ V @ A.T, y - A @ (D if at is None else at))


def moments(A, y, x, D, J, W):
    # the matrix nearest to that of the Jacobian with which A gives something symmetric and positive, source by source
    C, columns = np.eye(3), []
    for own in (slice(0, 3), slice(3, 5)):
        a, V = A[:, own], SIGMA**2 * J[own, own]
        V = (V + V.T) / 2
        w, Q = np.linalg.eigh(V)
        V = (Q * np.maximum(w, 0)) @ Q.T
        columns.append(V @ a.T)
        C = C + a @ V @ a.T
    return D + np.concatenate(columns) @ np.linalg.solve(C, y - A @ D)


FORMULAS = {
    "moments": moments,
    "pigdm": lambda A, y, x, D, J, W: guided(A, y, D, J, np.eye(3) + 1.7 * SIGMA**2 / (1.7 + SIGMA**2) * A @ A.T),
    "opc": lambda A, y, x, D, J, W: guided(A, y, D, J, np.eye(3) + A @ W @ A.T),
    "tmpd": lambda A, y, x, D, J, W: guided(
        A, y, D, J, np.eye(3) + np.diag(np.maximum(SIGMA**2 * A @ J.T @ A.T @ np.ones(3), 0))
    ),
    "sda": lambda A, y, x, D, J, W: guided(A, y, D, J, np.eye(3) + 0.3 * SIGMA**2 * np.diag(np.diag(A @ A.T))),
    "dmps": lambda A, y, x, D, J, W: shifted(A, y, D, SIGMA**2 * np.eye(5), at=x),
    "jfps": lambda A, y, x, D, J, W: shifted(A, y, D, W),
    "projection": lambda A, y, x, D, J, W: D,
    "repaint": lambda A, y, x, D, J, W: D,
    "split_gibbs": lambda A, y, x, D, J, W: D,
    "daps": lambda A, y, x, D, J, W: shifted(A, y, flow_end(x, J), SIGMA**2 * np.eye(5)),
    "dps": lambda A, y, x, D, J, W: D,
    "mcg": lambda A, y, x, D, J, W: D,
    "diffpir": lambda A, y, x, D, J, W: shifted(A, y, D, SIGMA**2 / 8 * np.eye(5)),
    **dict.fromkeys(("ddrm", "ddnm", "snips"), lambda A, y, x, D, J, W: D),
}


def flow_end(x, J):
    for t, s in pairwise(np.tan(np.arctan(SIGMA) * np.arange(5, -1, -1) / 5)):
        x = x - (1 - s / t) * (x - J @ x)
    return x


@pytest.fixture(scope="module")
def evaluated(example):
    """Estimates of all targets, in one program."""
    A, y, x_t, S = example

    def run(x_t):
        whitened = whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(STD))
        targets = {name: built(name, denoisers_of(S), whitened) for name in EVERY}
        return {name: target.mean(x_t, jnp.asarray(SIGMA))[0] for name, target in targets.items()}

    with jax.enable_x64(True):
        return jax.jit(run)(x_t)


@pytest.mark.parametrize("name", EVERY)
def test_an_estimate_is_its_formula(name, evaluated, example):
    assert name in FORMULAS, f"write the formula of '{name}' out"
    got = np.concatenate([np.asarray(evaluated[name][s]) for s in NAMES])
    np.testing.assert_allclose(got, FORMULAS[name](*parts(example)), rtol=1e-9, atol=1e-9)


def one_step(name: str, denoisers, whitened, x_t, key):
    """A step of a method, and what follows it."""
    target, sigma_s = built(name, denoisers, whitened), jnp.asarray(SIGMA / 2)
    x_s, _ = method_named(name).walk(target, x_t, jnp.asarray(SIGMA), sigma_s, key)
    return target.settled(x_s, sigma_s, key), target


def test_a_step_costs_what_it_says_and_does_not_depend_on_its_batch(example):
    _, _, _, S = example
    rng, n = np.random.default_rng(2), 4
    A = {s: rng.normal(size=(n, 3, d)) for s, d in zip(NAMES, SIZES, strict=True)}
    x_t = {s: rng.normal(size=(n, d)) for s, d in zip(NAMES, SIZES, strict=True)}
    y, keys = rng.normal(size=(n, 3)), jax.random.split(jax.random.key(0), n)
    tallies, costs = {name: Tally() for name in EVERY if name != "moments"}, {}  # which has tests of its own
    counted = {
        name: {s: tally.wrap(s, denoiser) for s, denoiser in denoisers_of(S).items()} for name, tally in tallies.items()
    }

    @jax.jit
    @jax.vmap
    def run(A, y, x_t, key):
        whitened, found = whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(STD)), {}
        for name in tallies:
            found[name], target = one_step(name, counted[name], whitened, x_t, key)
            costs[name] = method_named(name).walk.cost(target, 0, False) * n
        return found

    together = jax.block_until_ready(run(A, y, x_t, keys))
    jax.effects_barrier()
    for name, tally in tallies.items():
        cost = costs[name]
        assert set(tally.forward.values()) == {cost.forward}, name
        assert max(tally.products.values()) == cost.products, name
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(together))
    for companion in (1e6, np.nan):
        other = np.where(np.arange(n)[:, None] == 2, y, companion)
        again = run(A, other, x_t, keys)
        for one, same in zip(jax.tree.leaves(together), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(one[2], same[2])


def test_a_dps_step_moves_the_state_along_the_gradient_of_the_residual(example):
    """As in the paper: the step of the bridge, less zeta times the gradient of the length."""
    A, y, x_t, S = example
    whitened = whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(STD))

    def run(x_t, key):
        levels = jnp.asarray(SIGMA), jnp.asarray(0.3)
        target = DPS(zeta=0.2).build(denoisers_of(S), whitened, False)
        return (walk(target, x_t, *levels, key)[0] for walk in (DPS(zeta=0.2).walk, Ancestral()))

    moved, plain = jax.jit(lambda x, key: tuple(run(x, key)))(x_t, jax.random.key(3))
    a, y, _, D, J, _ = parts(example)
    r = y - a @ D
    expected = 0.2 * J.T @ a.T @ r / np.linalg.norm(r) / np.sqrt(np.mean(np.sum(a**2, 1)))
    got = np.concatenate([np.asarray(moved[s] - plain[s]) for s in NAMES])
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_a_replaced_state_says_of_the_data_what_they_say(sigma, example):
    A, y, x_t, S = example
    whitened = whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(STD))
    target, state = built("projection", denoisers_of(S), whitened), jax.tree.map(jnp.asarray, x_t)
    keys = jax.random.split(jax.random.key(1), 2000)
    found = jax.jit(jax.vmap(lambda key: target.settled(state, jnp.asarray(sigma), key)))(keys)
    a, y, x, _, _, _ = parts(example)
    moved = flatten(found, NAMES) - x
    across = np.eye(5) - np.linalg.pinv(a) @ a
    np.testing.assert_allclose(moved @ across, 0, atol=1e-12)
    seen = (x + moved) @ a.T - y
    if sigma:
        assert_gaussian(seen, np.zeros(3), sigma**2 * a @ a.T)
    else:
        np.testing.assert_allclose(seen, 0, atol=2e-3 * np.abs(y).max())


@pytest.mark.parametrize("name", ["leading directions", "missing complex data", "dense noise, missing data"])
def test_targets_with_the_covariances_of_gaussian_sources_are_exact(name):
    """OPC and JFPS on Gaussian sources: the closed form, whichever way the system is solved."""
    case = CASES[name]()
    x_t = np.random.default_rng(4).normal(size=len(case.prior()[0]))

    def run(x_t):
        whitened = case.whitened()
        targets = {
            f"{kind} {alike}": method_named(kind).build(case.denoisers, whitened, alike)
            for kind in ("opc", "jfps")
            for alike in (False, True)
        }
        found = {way: target.mean(x_t, jnp.asarray(SIGMA)) for way, target in targets.items()}
        products = eqx.tree_at(lambda t: t.system, targets["jfps False"], System(whitened, None, False))
        return {**found, "products": products.mean(x_t, jnp.asarray(SIGMA))}

    expected, _ = case.posterior(x_t, SIGMA)
    for x, info in jax.jit(run)(case.split(jnp.asarray(x_t))).values():
        got = flatten({s: a[None] for s, a in x.items()}, case.names)[0]
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)
        assert info.residual < 1e-8 and not info.stopped


def test_targets_are_one_where_their_covariances_are(rng):
    """Isotropic sources: PiGDM; a diagonal covariance under a mask: TMPD; a flat one: DMPS; moment matching always."""
    y, x_t, d = rng.normal(size=4), {"x": rng.normal(size=4)}, rng.uniform(0.3, 2, 4)
    dense, mask = Dense(rng.normal(size=(4, 4))), Mask(np.array([1.0, 0, 1, 0.5]))
    cases = {"pigdm": (dense, np.full(4, 1.7)), "tmpd": (mask, d), "dmps": (dense, np.full(4, 1e9)), "jfps": (dense, d)}

    def run(x_t):
        found = {}
        for name, (operator, variances) in cases.items():
            whitened = whiten(y, {"x": operator}, DiagonalNoise(STD))
            denoisers = {"x": GaussianDenoiser.from_covariance(np.zeros(4), np.diag(variances))}
            ways = (built(way, denoisers, whitened) for way in (name, "moments"))
            found[name] = [target.mean(x_t, jnp.asarray(SIGMA))[0]["x"] for target in ways]
        return found

    for name, (own, moments) in jax.jit(run)(x_t).items():
        np.testing.assert_allclose(own, moments, atol=1e-7 if name == "dmps" else 1e-10, err_msg=name)


@pytest.fixture(scope="module")
def gaussian():
    """Gaussian sources in plain units, data of a noise of 0.5."""
    rng = np.random.default_rng(3)
    mixing = {"b": Dense(rng.normal(size=(3, 3))), "a": Dense(rng.normal(size=(3, 2)))}
    return make_case(mixing, std=0.5, units=False)


@pytest.mark.slow
def test_rounds_of_split_gibbs_leave_their_law_alone(gaussian):
    """At one coupling, with a long walk behind the prior's draws: the data then have the noise of the copy as well."""
    rho, n = 0.8, 2000
    A, y, N = gaussian.linear_model()
    mean, S = gaussian.prior()
    C = A @ S @ A.T + N + rho**2 * A @ A.T
    gain = S @ A.T @ np.linalg.inv(C)
    m, V = mean + gain @ (y - A @ mean), S - gain @ A @ S
    start = np.random.default_rng(5).multivariate_normal(m, V, size=n)
    method = SplitGibbs(inner_steps=256)

    @jax.jit
    @jax.vmap
    def one_round(x, key):
        target = method.build(gaussian.denoisers, gaussian.whitened(), False)
        noise_key, settle_key, draw_key = jax.random.split(key, 3)
        z = jax.tree.map(lambda a, e: a + rho * e, x, noise_like(noise_key, x))
        z = target.settled(z, jnp.asarray(rho), settle_key)
        return target.draw(z, jnp.asarray(rho), draw_key)[0]

    x = one_round(gaussian.split(start), jax.random.split(jax.random.key(6), n))
    assert_gaussian(flatten(x, gaussian.names), m, V)
    # and from elsewhere they do not stay
    assert np.abs(flatten(one_round(gaussian.split(start + 1), jax.random.split(jax.random.key(7), n)), gaussian.names)
        .mean(0) - m).max() > 0.1  # fmt: skip


def test_a_daps_draw_is_round_about_the_end_of_the_flow(example):
    A, y, x_t, S = example
    whitened = whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(STD))
    target, state = built("daps", denoisers_of(S), whitened), jax.tree.map(jnp.asarray, x_t)
    keys = jax.random.split(jax.random.key(8), 4000)
    x = jax.jit(jax.vmap(lambda key: target.draw(state, jnp.asarray(SIGMA), key)[0]))(keys)
    a, y, _, _, J, _ = parts(example)
    gain = SIGMA**2 * a.T @ np.linalg.inv(np.eye(3) + SIGMA**2 * a @ a.T)
    end = flow_end(np.concatenate([x_t[s] for s in NAMES]), J)
    assert_gaussian(flatten(x, NAMES), end + gain @ (y - a @ end), SIGMA**2 * (np.eye(5) - gain @ a))


def test_what_a_target_lacks_is_said():
    bare = {s: MatrixDenoiser(JACOBIANS[s]) for s in NAMES}
    for name in ("opc", "jfps"):
        with pytest.raises(ValueError, match=f"target '{name}' needs .*source '[ab]', and its prior has none"):
            method_named(name).prepared(bare)
    assert MCG(zeta=0.2).walk == DPS(zeta=0.2).walk
