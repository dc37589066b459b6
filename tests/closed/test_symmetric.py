"""Sources with symmetries: their laws keep them, EM stays EM, and fewer observations say as much."""

import numpy as np
import pytest
import scipy.linalg

from dichroic.algebra import Components, Gaussian
from dichroic.closed import ComponentsConfig, GaussianConfig, components_em, gaussian_em
from dichroic.closed.components import _split, _update
from dichroic.closed.evidence import ComponentStatistics
from dichroic.closed.routes import bind_components, bind_view
from dichroic.closed.stationary import Torus, family_of
from dichroic.closed.statistics import Statistics
from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View
from oracles import random_covariance

FAMILIES = {
    "mirrored series": Source((6,), symmetry=["flip"]),
    "turned image": Source((3, 3, 1), symmetry=["rotate"]),
    "all of an image": Source((3, 3, 1), symmetry=["flip", "rotate"]),
    "stationary series": Source((6,), symmetry=["shift"]),
    "stationary colours": Source((2, 3, 2), symmetry=["shift"]),
    "stationary and turned": Source((3, 3, 1), symmetry=["flip", "rotate", "shift"]),
    "complex": Source((5,), dtype=complex, symmetry=["flip", "shift"]),
}
every_family = pytest.mark.parametrize("source", FAMILIES.values(), ids=FAMILIES)


def size(source):
    return int(np.prod(source.real_shape))


def some(rng, source, K=2):
    """Components of the family."""
    d = size(source)
    x = Components(np.full(K, 1 / K), rng.normal(size=(K, d)), np.stack([random_covariance(rng, d) for _ in range(K)]))
    return family_of(source).nearest(x)


def belongs(source, x, rtol=1e-9):
    """Whether components have the symmetries of their source, seen entry by entry."""
    for mean, S in zip(x.means, x.covariances, strict=True):
        scale = np.abs(S).max()
        assert np.linalg.eigvalsh(S).min() > -1e-9 * scale
        for g in source.permutations:
            np.testing.assert_allclose(mean[g], mean, atol=rtol * np.abs(mean).max())
            np.testing.assert_allclose(S[np.ix_(g, g)], S, atol=rtol * scale)
        if source.stationary:
            space = source.shape if len(source.shape) < 3 else source.shape[:-1]
            n = int(np.prod(space))
            blocks = S.reshape(n, len(S) // n, n, -1)
            places = list(np.ndindex(*space))
            known = {}
            for i, a in enumerate(places):
                np.testing.assert_allclose(mean.reshape(n, -1)[i], mean.reshape(n, -1)[0], rtol=1e-12)
                for j, b in enumerate(places):
                    first = known.setdefault(tuple(np.subtract(a, b)), blocks[i, :, j])
                    np.testing.assert_allclose(blocks[i, :, j], first, atol=rtol * scale)


def view_of(rng, source, n=20, shared=False):
    d = size(source)
    A = rng.normal(size=(4, d) if shared else (n, 4, d))
    operator = Dense(A, source.real_shape) if shared else PerSample(Dense(A, source.real_shape))
    real = Source(source.real_shape)
    return Problem({"x": real}, {"v": View(2 * rng.normal(size=(n, 4)), {"x": operator}, 0.3)}).views["v"]


@every_family
def test_the_nearest_member_is_one_and_the_nearest_to_itself(source, rng):
    x = some(rng, source)
    belongs(source, x)
    again = family_of(source).nearest(x)
    np.testing.assert_allclose(again.covariances, x.covariances, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.means, x.means, rtol=1e-12)


@every_family
def test_a_lap_stays_in_the_family_and_never_lowers_the_likelihood(source, rng):
    family, x = family_of(source), some(rng, source)
    bound, values = bind_components(view_of(rng, source), {"x": source.real_shape}), []
    for _ in range(12):
        value, statistics = bound.statistics({"x": x})
        values.append(value)
        x = family.maximised(x, statistics["x"])
        belongs(source, x)
    assert np.diff(values).min() > -1e-9 * abs(values[0])
    assert values[-1] > values[0] + 1e-3


@every_family
@pytest.mark.parametrize("ties", [0.0, 0.5])
def test_the_gaussian_stage_climbs_in_the_family(source, ties, rng):
    family, bound = family_of(source), bind_view(view_of(rng, source), {"x": source.real_shape}, 10, 0)
    x, tau, before, target = some(rng, source, 1).gaussian(), ties * size(source), -np.inf, np.eye(size(source))

    def objective(value, target):
        return value + (family.tied_log_density(x.covariance(), target, tau) if ties else 0.0)

    for _ in range(8):
        belief = bound.believe({"x": x}, 0)
        # under the prior of the lap before, about the level that it found
        assert objective(belief.log_likelihood, target) >= before - 1e-9
        after = family.population(x, belief.statistics["x"], None, ties)
        target = after.total_variance / size(source) * np.eye(size(source))
        before = objective(belief.log_likelihood, target)
        x = after
        belongs(source, Components.of(x))


def test_averaged_statistics_are_those_of_all_moved_observations(rng):
    source = FAMILIES["all of an image"]
    moved = rng.normal(size=(10, 9))[:, source.permutations].reshape(-1, 9)
    one = moved.reshape(10, 8, 9)[:, 0]
    family = family_of(source)
    few = Statistics(10, one.sum(0), one.T @ one)
    found = family.population(Gaussian.of(np.zeros(9), np.eye(9)), few, None, 0.0)
    np.testing.assert_allclose(found.mean, moved.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.covariance(), np.cov(moved.T, bias=True), atol=1e-12)


@pytest.mark.parametrize("name", ["stationary series", "stationary colours", "complex"])
def test_a_stationary_lap_is_that_of_the_whole_torus(name, rng):
    """Brute force: the window as some of the entries of a circulant Gaussian, and averages of its posterior moments."""
    source = FAMILIES[name]
    space = source.shape if len(source.shape) < 3 else source.shape[:-1]
    channels = size(source) // int(np.prod(space))
    torus, x = Torus(space, channels), some(rng, source, 1)
    sides, P = torus.sides, torus.size
    R = np.zeros((P, channels, channels))
    S = x.covariances[0].reshape(len(torus.lags), channels, len(torus.lags), channels)
    for i, j in np.ndindex(*torus.lags.shape):
        R[torus.lags[i, j]] = S[i, :, j]
    places = np.indices(sides).reshape(len(sides), -1)
    apart = np.ravel_multi_index([np.mod(p[:, None] - p, n) for p, n in zip(places, sides, strict=True)], sides)
    whole = R[apart].swapaxes(1, 2).reshape(P * channels, P * channels)
    seen = np.ravel_multi_index(np.indices(space).reshape(len(space), -1), sides)
    seen = (seen[:, None] * channels + np.arange(channels)).ravel()
    np.testing.assert_allclose(whole[np.ix_(seen, seen)], x.covariances[0], atol=1e-10)
    m = np.tile(x.means[0][:channels], P)
    n, A = 5, rng.normal(size=(4, size(source)))
    y = rng.normal(size=(n, 4))
    C = A @ whole[np.ix_(seen, seen)] @ A.T + np.eye(4)
    gain = whole[:, seen] @ A.T @ np.linalg.inv(C)
    z = m + (y - A @ m[seen]) @ gain.T
    V = whole - gain @ A @ whole[seen]
    flip = [np.arange(P * channels)]
    if "flip" in source.symmetry:
        back = np.mod(space[0] - 1 - np.arange(P), P)  # the mirror image that moves the window onto itself
        flip.append((back[:, None] * channels + np.arange(channels)).ravel())
    z = np.concatenate([z[:, f] for f in flip])
    V = np.mean([V[np.ix_(f, f)] for f in flip], axis=0)
    mean = z.reshape(-1, channels).mean(0)
    away = z - np.tile(mean, P)
    second = (V + away.T @ away / len(z)).reshape(P, channels, P, channels)
    circulant = np.zeros_like(R)
    for i, j in np.ndindex(P, P):
        circulant[apart[i, j]] += second[i, :, j] / P
    expected = circulant[torus.lags].swapaxes(1, 2).reshape(size(source), size(source))
    K = np.linalg.inv(C)
    a = (y - A @ x.means[0]) @ K
    statistics = ComponentStatistics.of_one(n, a.sum(0) @ A, A.T @ (a.T @ a - n * K) @ A)
    found = family_of(source).maximised(x, statistics)
    np.testing.assert_allclose(found.means[0], np.tile(mean, len(torus.lags)), rtol=1e-9)
    np.testing.assert_allclose(found.covariances[0], expected, atol=1e-10)


@every_family
def test_charts_are_come_back_from(source, rng):
    family, x, y = family_of(source), some(rng, source), some(rng, source)
    y = Components(np.array([0.3, 0.7]), y.means, y.covariances)
    chart = family.chart(x)
    back = chart.point(chart.vector(y))
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(back, name), getattr(y, name), rtol=1e-8, atol=1e-10)
    belongs(source, family.nearest(chart.point(chart.vector(y) * 0.5)))


@every_family
def test_halves_belong_and_have_the_moments_of_the_whole(source, rng):
    family, x = family_of(source), some(rng, source)
    halves = _split(x, family)
    belongs(source, halves)
    assert not np.allclose(halves.covariances[0], halves.covariances[2])
    for before, after in zip(x.moments(), halves.moments(), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-10)


@every_family
def test_tied_components_belong(source, rng):
    family, start = family_of(source), some(rng, source, 1)
    x = _split(start, family)
    bound = bind_components(view_of(rng, source), {"x": source.real_shape})
    for _ in range(3):
        x, target = _update(x, bound.statistics({"x": x})[1]["x"], 0.5, start, family)
        belongs(source, x)
        belongs(source, Components(np.ones(1), x.means[:1], target[None]))
        assert np.isfinite(family.tied_log_density(x.covariances[0], target, 3.0))


def process(rng, n, d=16, noise=0.3):
    """A stationary series in noise, and its covariance."""
    S = scipy.linalg.toeplitz(0.8 ** np.arange(d) * np.cos(0.7 * np.arange(d)))
    y = rng.multivariate_normal(np.full(d, 1.0), S, size=n) + noise * rng.normal(size=(n, d))
    return y, S


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_fewer_observations_say_as_much(unit):
    y, S = process(np.random.default_rng(0), 12)
    off = {}
    for symmetry in ((), ("flip",), ("shift",)):
        source = Source((16,), symmetry=symmetry)
        fit = gaussian_em(Problem({"x": source}, {"v": View(unit * y, {"x": 1.0}, unit * 0.3)}))
        found = fit.populations["x"].covariance() / unit**2
        off[symmetry] = np.linalg.norm(found - S) / np.linalg.norm(S)
        belongs(source, Components(np.ones(1), fit.populations["x"].mean[None] / unit, found[None]), rtol=1e-6)
        assert fit.converged
    assert off["shift",] < off["flip",] < off[()]


def test_accelerated_laps_never_lower_the_likelihood():
    y, _ = process(np.random.default_rng(2), 40)
    y[:, 3:5] = np.nan
    for symmetry in (["flip"], ["shift"]):
        problem = Problem({"x": Source((16,), symmetry=symmetry)}, {"v": View(y, {"x": 1.0}, 0.3)})
        fit = gaussian_em(problem, GaussianConfig(ties=0, laps=60, tolerance=1e-12))
        assert np.diff(fit.log_likelihood).min() > -1e-9
        plain = [fit.log_likelihood[k] for k in (0, 3, -1)]
        assert plain[0] < plain[1] < plain[2]


def test_what_is_known_stays_as_it_is(rng):
    y, _ = process(rng, 30)
    known = Gaussian.of(np.arange(16.0), random_covariance(rng, 16))
    problem = Problem(
        {"x": Source((16,), symmetry=["shift"]), "z": Source((16,), symmetry=["flip"])},
        {"v": View(y, {"x": 1.0, "z": 1.0}, 0.3)},
    )
    fit = gaussian_em(problem, GaussianConfig(laps=3), fixed={"z": known})
    np.testing.assert_allclose(fit.populations["z"].covariance(), known.covariance(), rtol=1e-9)


def test_stationary_sources_of_two_powers_are_told_apart():
    rng = np.random.default_rng(1)
    y, _ = process(rng, 800)
    loud = rng.random(800) < 0.3
    y = (y - 1) * np.where(loud, 3.0, 0.5)[:, None] + 0.3 * rng.normal(size=y.shape)
    source = Source((16,), symmetry=["flip", "shift"])
    problem = Problem({"x": source}, {"v": View(y, {"x": 1.0}, 0.3)})
    kept, held = problem.split(0.2)
    start = {s: Components.of(x) for s, x in gaussian_em(kept).populations.items()}
    found = components_em(kept, start, ComponentsConfig(components=4), held_out=held)
    assert found.sizes["x"] >= 2
    belongs(source, found.components["x"], rtol=1e-6)
    powers = np.trace(found.components["x"].covariances, axis1=1, axis2=2)
    assert powers.max() > 5 * powers.min()
