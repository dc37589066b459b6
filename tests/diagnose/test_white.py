"""Views in units of their noise, and exact posteriors, against NumPy."""

import jax
import numpy as np
import pytest

from dichroic import Dense, DenseNoise, PerSample, Problem, Source, View
from dichroic.diagnose import Budget, Case
from dichroic.diagnose.fission import split_data
from dichroic.diagnose.gap import frechet
from dichroic.diagnose.model import GaussianModel
from dichroic.diagnose.white import WhiteView, generator
from dichroic.operators import AsComplex
from oracles import assert_gaussian, random_covariance


@pytest.fixture
def pieces(rng):
    """Two sources, correlated noise, missing entries."""
    n = 6
    A, B = rng.normal(size=(n, 4, 3)), rng.normal(size=(4, 2))
    N = random_covariance(rng, 4)
    y = rng.normal(size=(n, 4))
    y[1, 2] = y[4, 0] = np.nan
    mixing = {"a": PerSample(Dense(A)), "b": Dense(B)}
    problem = Problem({"a": Source((3,)), "b": Source((2,))}, {"v": View(y, mixing, DenseNoise.from_covariance(N))})
    return problem, A, B, N, y


def oracle(pieces, i):
    """Matrix and data of an observation without its missing entries, white."""
    _, A, B, N, y = pieces
    seen = np.isfinite(y[i])
    W = np.linalg.inv(np.linalg.cholesky(N[np.ix_(seen, seen)]))
    return W @ np.concatenate([A[i], B], 1)[seen], W @ y[i, seen]


def test_white_data_and_mixtures(pieces, rng):
    problem = pieces[0]
    white = WhiteView(problem.views["v"], {"a": (3,), "b": (2,)})
    x = {"a": rng.normal(size=(6, 3)), "b": rng.normal(size=(6, 2))}
    mixed, matrices = white.mix(x), white.matrices()
    np.testing.assert_array_equal(white.count, [4, 3, 4, 4, 3, 4])
    for i in range(6):
        M, y = oracle(pieces, i)
        # any square root of the inverse covariance will do: products are compared
        z = M @ np.concatenate([x["a"][i], x["b"][i]])
        np.testing.assert_allclose(white.y[i] @ white.y[i], y @ y, rtol=1e-4)
        np.testing.assert_allclose(mixed[i] @ white.y[i], z @ y, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(matrices[i].T @ matrices[i], M.T @ M, rtol=1e-3, atol=1e-4)
    rows = np.array([3, 3, 0])
    again = white.mix({s: v[rows] for s, v in x.items()}, rows)
    np.testing.assert_allclose(again, mixed[rows], rtol=1e-5)


def test_data_go_back_and_forth_and_noise_scales(pieces):
    white = WhiteView(pieces[0].views["v"], {"a": (3,), "b": (2,)})
    same = WhiteView(white.with_data(white.y), white.shapes)
    np.testing.assert_allclose(same.y, white.y, atol=1e-4)
    larger = WhiteView(white.with_data(white.y, noise=2.0), white.shapes)
    np.testing.assert_allclose(larger.y, white.y / 2, atol=1e-4)
    np.testing.assert_allclose(larger.matrices(), white.matrices() / 2, atol=1e-4)


def test_complex_data(rng):
    x = rng.normal(size=(5, 4, 2))
    y = 3 * (x[..., 0] + 1j * x[..., 1])
    problem = Problem({"x": Source((4, 2))}, {"v": View(y, {"x": AsComplex((4, 2))}, 0.5)})
    white = WhiteView(problem.views["v"], {"x": (4, 2)})
    assert white.y.shape == (5, 8)
    np.testing.assert_allclose(white.mix({"x": 3 * x}), white.y, rtol=1e-5)
    np.testing.assert_allclose(white.with_data(white.y).y, y, rtol=1e-5)


def test_exact_posterior_draws(pieces, rng):
    problem = pieces[0]
    S = {"a": random_covariance(rng, 3), "b": random_covariance(rng, 2)}
    means = {"a": rng.normal(size=3), "b": rng.normal(size=2)}
    view = problem.views["v"].select(np.full(20_000, 1))
    drawn = GaussianModel(means, S).given("v", view)(jax.random.key(3))
    M, y = oracle(pieces, 1)
    P0 = np.block([[S["a"], np.zeros((3, 2))], [np.zeros((2, 3)), S["b"]]])
    gain = P0 @ M.T @ np.linalg.inv(M @ P0 @ M.T + np.eye(len(y)))
    mean = np.concatenate([means["a"], means["b"]])
    mean, P = mean + gain @ (y - M @ mean), P0 - gain @ M @ P0
    assert_gaussian(np.concatenate([drawn["a"], drawn["b"]], 1), mean, P)
    assert_gaussian(GaussianModel(means, S).sample("a", 20_000, jax.random.key(0)), means["a"], S["a"])


def test_the_halves_of_split_data_are_independent(rng):
    y, e = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 1))
    assert_gaussian(np.concatenate(split_data(y, e), 1), np.zeros(2), 2 * np.eye(2))


def test_simulated_observations_follow_the_model(pieces, rng):
    problem = pieces[0]
    S = {"a": np.eye(3), "b": 0.5 * np.eye(2)}
    view = problem.views["v"].select(np.full(5_000, 0))
    many = Problem(problem.sources, {"v": view})
    case = Case(
        many, GaussianModel({"a": np.zeros(3), "b": np.zeros(2)}, S), Budget(observations=5_000), jax.random.key(1)
    )
    sim = case.simulate("test", 5_000)["v"]
    M, _ = oracle(pieces, 0)
    white = WhiteView(view, sim.white.shapes).matrices()[0]
    P0 = np.diag([1, 1, 1, 0.5, 0.5])
    assert_gaussian(sim.white.y, np.zeros(4), white @ P0 @ white.T + np.eye(4))
    np.testing.assert_allclose(white.T @ white, M.T @ M, rtol=1e-3, atol=1e-4)
    residual = sim.white.y - sim.white.mix(sim.truth)
    assert_gaussian(residual, np.zeros(4), np.eye(4))


def test_frechet_distance_of_gaussians(rng):
    x = rng.normal(size=(200_000, 2))
    # scales 1 and 3 along one axis, a shift of 2 along the other
    distance = frechet(x, x * [3.0, 1.0] + [0.0, 2.0])
    assert distance == pytest.approx(4 + 4, rel=0.02)


def test_generators_follow_their_keys():
    a, b, c = (generator(jax.random.key(k)).normal() for k in (1, 1, 2))
    assert a == b != c
