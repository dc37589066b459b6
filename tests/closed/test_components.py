"""The components stage: every route against brute force, a lap against scikit-learn's, the search against the truth."""

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp

from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, components_em, gaussian_em
from dichroic.closed.components import _split, _update
from dichroic.closed.groups import Groups
from dichroic.closed.routes import bind_components
from dichroic.closed.stationary import family_of
from dichroic.closed.systems import Systems
from dichroic.diffusion import ComponentsDenoiser
from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View
from oracles import SIGMAS, assert_gaussian, random_covariance


class LikeliestView(Systems):
    """Searches for the likeliest combinations, however few there are: then it finds all of them."""

    exhaustive = 0


ROUTES = {"per observation": Systems, "likeliest": LikeliestView, "grouped": Groups}
every_route = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
SHAPES = {"a": (3,), "b": (2,)}
STD = 0.3


def random_components(rng, d: int, K: int, apart: float = 2.0) -> Components:
    weights = rng.dirichlet(np.full(K, 5.0))
    return Components(weights, apart * rng.normal(size=(K, d)), np.stack([random_covariance(rng, d) for _ in range(K)]))


def two_sources(rng) -> dict[str, Components]:
    return {"a": random_components(rng, 3, 3), "b": random_components(rng, 2, 2)}


def observe(rng, n=7, missing=False, shared=False) -> View:
    A = {s: rng.normal(size=(1 if shared else n, 4, *shape)) for s, shape in SHAPES.items()}
    y = rng.normal(size=(n, 4)) * 3
    if missing:
        y[2, 1] = y[4, 0] = np.nan
    mixing = {s: Dense(m[0]) if shared else PerSample(Dense(m)) for s, m in A.items()}
    view = View(y, {"b": mixing["b"], "a": mixing["a"]}, STD)
    return Problem({s: Source(shape) for s, shape in SHAPES.items()}, {"v": view}).views["v"]


def matrices(view: View, i: int) -> dict[str, np.ndarray]:
    found = {}
    for s, op in view.mixing.items():
        found[s] = op.value.matrix[i] if isinstance(op, PerSample) else op.matrix
    return found


def combinations(view: View, components, i: int):
    """Log-weight, mean and covariance of the stacked sources given the data, for every combination."""
    seen = np.ones(4, bool) if view.observed is None else view.observed[i]
    A = {s: m[seen] for s, m in matrices(view, i).items()}
    y = view.y[i][seen]
    for k in range(len(components["a"])):
        for j in range(len(components["b"])):
            mean = np.concatenate([components["b"].means[j], components["a"].means[k]])
            S = scipy.linalg.block_diag(components["b"].covariances[j], components["a"].covariances[k])
            both = np.concatenate([A["b"], A["a"]], 1)
            C = both @ S @ both.T + STD**2 * np.eye(len(y))
            log_w = np.log(components["b"].weights[j] * components["a"].weights[k])
            # the library's unit is the white noise: a density per unit of it
            log_p = log_w + scipy.stats.multivariate_normal(both @ mean, C).logpdf(y) + len(y) * np.log(STD)
            gain = S @ both.T @ np.linalg.inv(C)
            yield log_p, mean + gain @ (y - both @ mean), S - gain @ both @ S


CASES = {"own matrices": {}, "missing": {"missing": True}, "one matrix": {"shared": True}}


@every_route
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_log_likelihood(route, case):
    rng = np.random.default_rng(0)
    view, components = observe(rng, **case), two_sources(rng)
    expected = [logsumexp([c[0] for c in combinations(view, components, i)]) for i in range(len(view))]
    np.testing.assert_allclose(route(view, SHAPES).log_likelihood(components), expected, rtol=1e-5)


@every_route
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_mean(route, case):
    rng = np.random.default_rng(0)
    view, components = observe(rng, **case), two_sources(rng)
    found = route(view, SHAPES).mean(components)
    for i in range(len(view)):
        log_p, means, _ = zip(*combinations(view, components, i), strict=True)
        expected = np.exp(log_p - logsumexp(log_p)) @ np.array(means)
        np.testing.assert_allclose(np.concatenate([found["b"][i], found["a"][i]]), expected, atol=1e-6)


@every_route
def test_statistics_are_derivatives(route):
    rng = np.random.default_rng(1)
    view, components = observe(rng, missing=True), two_sources(rng)
    bound, step = route(view, SHAPES), 1e-5
    value, statistics = bound.statistics(components)
    assert value == pytest.approx(bound.log_likelihood(components).sum(), rel=1e-9)
    for s, x in components.items():

        def difference(change, s=s):
            up, down = (bound.log_likelihood({**components, s: change(sign * step)}).sum() for sign in (1, -1))
            return (up - down) / (2 * step)

        for k in range(len(x)):
            unit = np.eye(len(x))[k]
            by_weight = difference(lambda e, x=x, u=unit: Components(x.weights * np.exp(e * u), x.means, x.covariances))
            assert statistics[s].count[k] == pytest.approx(by_weight, rel=1e-4, abs=1e-6)
            direction = rng.normal(size=x.means.shape[1])
            by_mean = difference(
                lambda e, x=x, u=unit, v=direction: Components(x.weights, x.means + e * np.outer(u, v), x.covariances)
            )
            assert statistics[s].first[k] @ direction == pytest.approx(by_mean, rel=1e-4, abs=1e-5)
            square = np.outer(direction, direction)
            by_covariance = difference(
                lambda e, x=x, u=unit, v=square: Components(
                    x.weights, x.means, x.covariances + e * u[:, None, None] * v
                )
            )
            found = 0.5 * np.sum(statistics[s].second[k] * square)
            assert found == pytest.approx(by_covariance, rel=1e-4, abs=1e-5)


@every_route
def test_lap_is_that_of_scikit_learn(route):
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(2)
    truth, start = random_components(rng, 3, 2), random_components(rng, 3, 2)
    label = rng.choice(2, p=truth.weights, size=300)
    x = np.stack([rng.multivariate_normal(truth.means[k], truth.covariances[k]) for k in label])
    problem = Problem({"x": Source((3,))}, {"v": View(x, {"x": 1.0}, 1e-4)})
    statistics = route(problem.views["v"], {"x": (3,)}).statistics({"x": start})[1]
    ours = _update(start, statistics["x"], 1e-12, start, family_of(Source((start.means.shape[1],))))[0]
    theirs = GaussianMixture(
        2,
        max_iter=1,
        reg_covar=0,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-5)
    np.testing.assert_allclose(ours.means, theirs.means_, atol=1e-4)
    np.testing.assert_allclose(ours.covariances, theirs.covariances_, atol=1e-4)


def test_laps_reach_the_likelihood_of_scikit_learn():
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(9)
    start = random_components(rng, 3, 4)
    x = random_components(rng, 3, 4).sample(rng, 400)
    view = Problem({"x": Source((3,))}, {"v": View(x, {"x": 1.0}, 1e-5)}).views["v"]
    bound, ours = bind_components(view, {"x": (3,)}), start
    assert isinstance(bound, Groups)
    for _ in range(10):
        ours = _update(
            ours, bound.statistics({"x": ours})[1]["x"], 1e-12, start, family_of(Source((start.means.shape[1],)))
        )[0]
    theirs = GaussianMixture(
        4,
        max_iter=10,
        tol=0,
        reg_covar=0,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(x)
    density = bound.log_likelihood({"x": ours}) - 3 * np.log(1e-5)  # of data in units of their own, not of the noise
    np.testing.assert_allclose(density, theirs.score_samples(x), rtol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_small_observations_that_share_a_design_are_solved_together(shared):
    view = observe(np.random.default_rng(10), n=300, shared=shared)
    assert type(bind_components(view, SHAPES)) is (Groups if shared else Systems)


def test_densities_that_do_not_fit_into_memory_are_made_in_shares(monkeypatch):
    rng = np.random.default_rng(11)
    view, components = observe(rng, n=7, missing=True, shared=True), two_sources(rng)
    bound = Groups(view, SHAPES)
    whole, all_draws = bound.statistics(components), bound.draw(components, jax.random.split(jax.random.key(0), 7))
    monkeypatch.setattr("dichroic.closed.groups.TABLE", 12)
    parts, draws = bound.statistics(components), bound.draw(components, jax.random.split(jax.random.key(0), 7))
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    np.testing.assert_allclose(bound.log_likelihood(components).sum(), whole[0], rtol=1e-12)
    for s in SHAPES:
        np.testing.assert_allclose(parts[1][s].second, whole[1][s].second, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(draws[s], all_draws[s], atol=1e-12)


@every_route
def test_likelihood_never_falls(route):
    rng = np.random.default_rng(3)
    view, components = observe(rng, n=16), two_sources(rng)
    bound, values = route(view, SHAPES), []
    for _ in range(15):
        value, statistics = bound.statistics(components)
        values.append(value)
        components = {
            s: _update(x, statistics[s], 1e-12, x, family_of(Source(SHAPES[s])))[0] for s, x in components.items()
        }
    assert np.diff(values).min() > -1e-6
    assert values[-1] > values[0] + 1


@every_route
def test_draws_are_exact(route):
    rng = np.random.default_rng(4)
    view, components = observe(rng, missing=True), two_sources(rng)
    view = view.select(np.full(4000, 2))
    bound = route(view, SHAPES)
    drawn = bound.draw(components, jax.random.split(jax.random.key(0), len(view)))
    found = list(combinations(view, components, 0))
    share = np.exp([c[0] for c in found] - logsumexp([c[0] for c in found]))
    means, covariances = np.stack([c[1] for c in found]), np.stack([c[2] for c in found])
    mean = share @ means
    between = (share[:, None] * (means - mean)).T @ (means - mean)
    stacked = np.concatenate([drawn["b"], drawn["a"]], 1)
    assert_gaussian(stacked, mean, np.einsum("k,kij->ij", share, covariances) + between)
    residual = view.y - np.einsum("ij,nj->ni", np.concatenate([matrices(view, 0)[s] for s in "ba"], 1), stacked)
    np.testing.assert_allclose(
        bound.chi_square(drawn),
        np.nanmean((residual / STD) ** 2 * view.observed / view.observed.mean(1, keepdims=True), 1),
        rtol=1e-4,
    )


@every_route
def test_draws_depend_on_their_own_key_alone(route):
    rng = np.random.default_rng(5)
    view, components = observe(rng, n=9, shared=True), two_sources(rng)
    keys = jax.random.split(jax.random.key(1), 9)
    some = np.array([7, 2])
    everyone = route(view, SHAPES).draw(components, keys)
    alone = route(view.select(some), SHAPES).draw(components, keys[some])
    for s in SHAPES:
        np.testing.assert_allclose(everyone[s][some], alone[s], atol=1e-9)


def test_split_keeps_the_moments():
    rng = np.random.default_rng(6)
    x = random_components(rng, 3, 2)

    def moments(m: Components):
        second = np.einsum("k,kij->ij", m.weights, m.covariances + m.means[:, :, None] * m.means[:, None])
        return m.weights @ m.means, second

    for before, after in zip(moments(x), moments(_split(x, family_of(Source((x.means.shape[1],))))), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_moments_are_those_of_draws():
    rng = np.random.default_rng(8)
    x = random_components(rng, 3, 4)
    assert_gaussian(x.sample(rng, 20_000), *x.moments())


def test_matched_gaussian():
    rng = np.random.default_rng(7)
    x = random_components(rng, 3, 4)
    matched = ComponentsDenoiser.from_covariances(x.weights, x.means, x.covariances).gaussian()
    mean = x.weights @ x.means
    second = np.einsum("k,kij->ij", x.weights, x.covariances + x.means[:, :, None] * x.means[:, None])
    np.testing.assert_allclose(matched.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(matched.covariance(), second - np.outer(mean, mean), rtol=1e-4, atol=1e-4)


def clusters(n: int, seed: int) -> Problem:
    """A smooth background alone, and the background with a source of three clusters in the plane."""
    rng = np.random.default_rng(seed)
    centres = np.array([[4.0, 0.0], [-2.0, 3.0], [-2.0, -3.0]])

    def background():
        return rng.multivariate_normal([1.0, 0.0], [[1.0, 0.8], [0.8, 1.0]], size=n)

    signal = centres[rng.integers(3, size=n)] + 0.1 * rng.normal(size=(n, 2))
    views = {
        "alone": View(background() + 0.05 * rng.normal(size=(n, 2)), {"g": 1.0}, 0.05),
        "both": View(background() + signal + 0.05 * rng.normal(size=(n, 2)), {"g": 1.0, "x": 1.0}, 0.05),
    }
    return Problem({"g": Source((2,)), "x": Source((2,))}, views)


@pytest.mark.parametrize("held", [True, False], ids=["held out", "criterion"])
def test_search_finds_clusters_and_leaves_a_gaussian_alone(held):
    problem = clusters(600, 0)
    start = {s: Components.of(p) for s, p in gaussian_em(problem).populations.items()}
    found = components_em(problem, start, ComponentsConfig(components=8), held_out=clusters(300, 1) if held else None)
    assert found is not None
    assert len(found.components["g"]) == 1
    centres = np.array([[4.0, 0.0], [-2.0, 3.0], [-2.0, -3.0]])
    x = found.components["x"]
    for centre in centres:
        near = np.linalg.norm(x.means - centre, axis=1) < 1
        error = SIGMAS * np.sqrt(2 / 9 / 600)
        assert x.weights[near].sum() == pytest.approx(1 / 3, abs=error)
        average = x.weights[near] @ x.means[near] / x.weights[near].sum()
        np.testing.assert_allclose(average, centre, atol=SIGMAS * np.sqrt(1 / 200) + 0.1)
    if held:
        scores = [score for _, score in found.held_out]
        assert scores == sorted(scores)


@pytest.mark.parametrize(("narrow", "kept"), [(0.05, 1.0), (1.0, 200.0)], ids=["different shapes", "one shape"])
@pytest.mark.parametrize("held", [True, False], ids=["held out", "criterion"])
def test_looser_ties_are_kept_where_components_differ_in_shape(narrow, kept, held):
    def problem(n: int, seed: int) -> Problem:
        rng = np.random.default_rng(seed)
        first = rng.integers(2, size=n)[:, None] == 0
        spread = np.where(first, [1.0, narrow], [narrow, 1.0])
        x = np.where(first, 3.0, -3.0) + spread * rng.normal(size=(n, 2))
        return Problem({"x": Source((2,))}, {"v": View(x + 0.05 * rng.normal(size=x.shape), {"x": 1.0}, 0.05)})

    data = problem(400, 0)
    start = {s: Components.of(p) for s, p in gaussian_em(data).populations.items()}
    config = ComponentsConfig(components=4, ties=200.0, looser=(1.0,))
    found = components_em(data, start, config, held_out=problem(200, 1) if held else None)
    assert found.ties == kept
    assert found.sizes["x"] >= 2
    scores = [score for _, score in found.held_out]
    assert scores == sorted(scores)


def test_no_stage_where_it_is_not_wanted_or_cannot_be():
    problem = clusters(20, 0)
    start = {s: Components.of(p) for s, p in gaussian_em(problem).populations.items()}
    for settings, why in (({"config": ComponentsConfig(components=1)}, "one"), ({"fixed": ["g", "x"]}, "known")):
        found = components_em(problem, start, **settings)
        assert why in found.refused and found.components == start
    n = 20
    rows = np.random.default_rng(1).normal(size=(n, 1100))
    large = Problem({"g": Source((1100,))}, {"v": View(rows, {"g": 1.0}, 0.1)})
    found = components_em(large, {"g": Components(np.ones(1), np.zeros((1, 1100)), np.eye(1100)[None])})
    assert "view 'v': 1100 numbers" in found.refused and set(found.sizes.values()) == {1}
