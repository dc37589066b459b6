"""Gaussian EM: every route against brute force, and the fit against the likelihood of the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from dichroic.algebra import Components, Gaussian
from dichroic.closed import groups, routes, weights
from dichroic.closed.factors import Factors
from dichroic.closed.gaussian import GaussianConfig, GaussianFit, gaussian_em
from dichroic.closed.groups import Groups
from dichroic.closed.matrix_free import MatrixFree
from dichroic.closed.statistics import Statistics
from dichroic.closed.systems import Systems
from dichroic.diffusion import Schedule
from dichroic.operators import AsComplex, Convolve, Dense, DenseNoise, FourierSample, PerSample, take
from dichroic.posterior.closed_form import ClosedForm
from dichroic.problem import Problem, Source, View
from dichroic.white.arrays import grouped, stack_samples
from dichroic.white.layout import shared_cores
from operator_cases import matrix_of
from oracles import SIGMAS, assert_gaussian, random_covariance

ROUTES = {
    "systems": Systems,
    "groups": Groups,
    "factors": Factors,
    "matrix free": MatrixFree,
}


def force(monkeypatch, route: str) -> None:
    """Sends every view through one route, where it can be had."""
    monkeypatch.setattr(routes, "SMALL", 1000)
    monkeypatch.setattr(routes, "DENSE", 0 if route == "matrix free" else 4096)
    cheapest = routes.cheapest

    def forced(found):
        return cheapest({route: found[route]} if route in found else {} if route == "matrix free" else found)

    monkeypatch.setattr(routes, "cheapest", forced)


class Truth:
    """Two correlated populations off the origin."""

    def __init__(self, rng, sizes=None):
        sizes = sizes or {"a": 3, "b": 2}
        self.mean = {s: rng.normal(size=d) for s, d in sizes.items()}
        self.covariance = {s: random_covariance(rng, d, 10) for s, d in sizes.items()}
        self.populations = {s: Gaussian.of(self.mean[s], self.covariance[s]) for s in sizes}
        self.sources = {s: Source((d,)) for s, d in sizes.items()}

    def draw(self, rng, s, n):
        return rng.multivariate_normal(self.mean[s], self.covariance[s], size=n)


def contrastive(rng, truth, n=400, std=0.3, shared=False, missing=False) -> Problem:
    """One view of `a`, one of both, with an operator per sample or one for all."""
    views = {}
    for name, sources in {"one": ["a"], "both": ["b", "a"]}.items():
        A = {s: rng.normal(size=(1 if shared else n, 4, len(truth.mean[s]))) for s in sources}
        y = sum(np.einsum("nij,nj->ni", np.broadcast_to(A[s], (n, *A[s].shape[1:])), truth.draw(rng, s, n)) for s in A)
        y = y + std * rng.normal(size=(n, 4))
        if missing:
            y[rng.random(y.shape) < 0.3] = np.nan
            y[:, 0] = np.where(np.isnan(y).all(1), 0.0, y[:, 0])
        views[name] = View(y, {s: Dense(m[0]) if shared else PerSample(Dense(m)) for s, m in A.items()}, std)
    return Problem(truth.sources, views)


def posteriors(view: View, populations, std):
    """Mean, covariance and log-likelihood (of the whitened data) of every observation, one by one."""
    names = list(view.mixing)
    mean = np.concatenate([populations[s].mean for s in names])
    S = scipy.linalg.block_diag(*[populations[s].covariance() for s in names])
    for i in range(len(view)):
        operators = [take(view.mixing[s], i) for s in names]
        A = np.concatenate([op.matrix if isinstance(op, Dense) else matrix_of(op) for op in operators], axis=1)
        y = view.y[i].ravel()
        seen = np.ones(y.size, bool) if view.observed is None else view.observed[i].ravel()
        A, y = A[seen], y[seen]
        own = std[i] if np.ndim(std) == 3 else std
        N = own[np.ix_(seen, seen)] if np.ndim(own) == 2 else own**2 * np.eye(len(y))
        if np.iscomplexobj(y):
            A, y, N = np.concatenate([A.real, A.imag]), np.concatenate([y.real, y.imag]), scipy.linalg.block_diag(N, N)
        C = N + A @ S @ A.T
        gain, r = S @ A.T @ np.linalg.inv(C), y - A @ mean
        log_likelihood = -0.5 * (r @ np.linalg.solve(C, r) + np.linalg.slogdet(C)[1] - np.linalg.slogdet(N)[1])
        yield mean + gain @ r, S - gain @ A @ S, log_likelihood - 0.5 * len(y) * np.log(2 * np.pi)


def brute_force(view: View, populations, std) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Sums of posterior means and second moments by source, and of log-likelihoods."""
    found = list(posteriors(view, populations, std))
    first = sum(m for m, _, _ in found)
    second = sum(V + np.outer(m, m) for m, V, _ in found)
    out, begin = ({}, {}), 0
    for s in view.mixing:
        block = slice(begin, begin + len(populations[s].mean))
        out[0][s], out[1][s], begin = first[block], second[block, block], block.stop
    return *out, sum(log_likelihood for _, _, log_likelihood in found)


def fourier_problem(rng, truth):
    x, z = truth.draw(rng, "a", 6).reshape(-1, 4), truth.draw(rng, "b", 6)
    mask = (rng.random((6, 4)) < 0.8).astype(float)
    y = np.fft.fft(x, norm="ortho") * mask + z[:, 0:1] + 1j * z[:, 1:2]
    y = y + 0.2 * (rng.normal(size=y.shape) + 1j * rng.normal(size=y.shape))
    y[0, 1] = np.nan
    spread = Dense(np.ones((4, 1)), (1,)) @ AsComplex((1, 2))
    view = View(y, {"a": PerSample(FourierSample(mask, (4,))), "b": spread}, 0.2)
    return Problem({"a": Source((4,)), "b": Source((1, 2))}, {"v": view}), 0.2


def dense_noise_problem(rng, truth):
    N = 0.1 * random_covariance(rng, 4)
    y = truth.draw(rng, "a", 6) + rng.normal(size=(6, 4))
    y[2, 0] = y[3, 1] = np.nan
    view = View(y, {"a": 1.0, "b": Convolve(np.ones(3), (4,)) @ Dense(np.ones((4, 2)))}, DenseNoise.from_covariance(N))
    return Problem({"a": Source((4,)), "b": Source((2,))}, {"v": view}), N


def own_noise_problem(rng, truth):
    """Few levels of noise, as of exposures, and one observation with levels of its own."""
    n = 8
    std = rng.choice([0.2, 0.2, 0.2, 0.2, 0.3, 0.5], size=(n, 4))
    std[3] = rng.uniform(0.25, 1.0, size=4)
    A = {s: rng.normal(size=(4, len(truth.mean[s]))) for s in ("a", "b")}
    y = sum(truth.draw(rng, s, n) @ A[s].T for s in A) + std * rng.normal(size=(n, 4))
    y[0, 1] = y[1, :2] = y[2, 3] = np.nan
    view = View(y, {s: Dense(m) for s, m in A.items()}, PerSample(std))
    return Problem(truth.sources, {"v": view}), np.stack([np.diag(row**2) for row in std])


def complex_shared_problem(rng, truth):
    problem, std = fourier_problem(rng, truth)
    view = problem.views["v"]
    mixing = {**view.mixing, "a": FourierSample(np.ones(4), (4,))}
    std = rng.choice([0.2, 0.4], size=len(view))
    covariances = np.stack([s**2 * np.eye(4) for s in std])
    return Problem(problem.sources, {"v": View(view.y, mixing, PerSample(std), view.observed)}), covariances


PROBLEMS = {
    "operators per sample": lambda rng: (contrastive(rng, Truth(rng), n=6), 0.3, None),
    "one operator": lambda rng: (contrastive(rng, Truth(rng), n=6, shared=True), 0.3, None),
    "missing data": lambda rng: (contrastive(rng, Truth(rng), n=6, missing=True), 0.3, None),
    "complex": lambda rng: (*fourier_problem(rng, Truth(rng, {"a": 4, "b": 2})), {"a": 4, "b": 2}),
    "dense noise": lambda rng: (*dense_noise_problem(rng, Truth(rng, {"a": 4, "b": 2})), {"a": 4, "b": 2}),
    "own noise": lambda rng: (*own_noise_problem(rng, Truth(rng)), None),
    "complex, own noise": lambda rng: (*complex_shared_problem(rng, Truth(rng, {"a": 4, "b": 2})), {"a": 4, "b": 2}),
}
every_problem = pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)


def bind(problem: Problem, name: str):
    shapes = {s: source.shape for s, source in problem.sources.items()}
    return routes.bind_view(problem.views[name], shapes, 10**6, 0)


@every_problem
@pytest.mark.parametrize("route", ["systems", "groups", "factors", "factors, each by itself"])
def test_the_exact_routes_are_brute_force(make, route, monkeypatch, float64, rng):
    problem, std, sizes = make(rng)
    populations = Truth(np.random.default_rng(1), sizes).populations
    if route == "factors, each by itself":
        monkeypatch.setattr(weights, "CONDITION", 0)
        route = "factors"
    force(monkeypatch, route)
    for name, view in problem.views.items():
        if route == "factors" and shared_cores(view) is None:
            continue
        bound = bind(problem, name)
        assert type(bound) is ROUTES[route]
        belief = bound.believe({s: populations[s] for s in bound.sources}, 0)
        first, second, log_likelihood = brute_force(view, populations, std)
        for s in view.mixing:
            assert belief.statistics[s].n == len(view)
            np.testing.assert_allclose(belief.statistics[s].first, first[s], atol=1e-9)
            np.testing.assert_allclose(belief.statistics[s].second, second[s], atol=1e-9)
        np.testing.assert_allclose(belief.log_likelihood, log_likelihood, rtol=1e-9)
        complex_parts = 2 if np.iscomplexobj(view.y) else 1
        assert belief.count == complex_parts * (view.y.size if view.observed is None else view.observed.sum())


@pytest.mark.parametrize(
    "name, route", [("dense noise", "groups"), ("own noise", "factors"), ("complex, own noise", "factors")]
)
def test_dense_routes_draw_from_the_exact_posterior(name, route, monkeypatch, float64, rng):
    problem, std, sizes = PROBLEMS[name](rng)
    populations = Truth(np.random.default_rng(1), sizes).populations
    force(monkeypatch, route)
    view, n = problem.views["v"], 1500
    known = {s: Components.of(p) for s, p in populations.items()}
    bound, found = bind(problem, "v"), list(posteriors(problem.views["v"], populations, std))
    means = stack_samples(bound.mean(known), bound.sources, len(view))
    np.testing.assert_allclose(means, [m for m, _, _ in found], atol=1e-9)
    bound = routes.bind_view(view.select(np.repeat([0, 3], n)), bound.shapes, 0, 0)
    found_draws = bound.draw(known, jax.random.split(jax.random.key(0), 2 * n))
    draws = stack_samples(found_draws, bound.sources, 2 * n)
    for i, rows in ((0, slice(n)), (3, slice(n, None))):
        assert_gaussian(draws[rows], *found[i][:2])


def residuals(view, samples, std):
    """Squared, per observed value, by the operators themselves."""
    for i in range(len(view)):
        y = sum(np.asarray(take(view.mixing[s], i)(jnp.asarray(x[i]))) for s, x in samples.items())
        seen = np.ones(y.shape, bool) if view.observed is None else view.observed[i]
        own = np.linalg.inv(std[i] if np.ndim(std) == 3 else std**2 * np.eye(y.size))[np.ix_(seen, seen)]
        r = (view.y[i] - y)[seen]
        yield np.real(np.conj(r) @ own @ r) / (len(r) * (2 if np.iscomplexobj(r) else 1))


@pytest.mark.parametrize("route", ["groups", "factors"])
@pytest.mark.parametrize("name", ["own noise", "complex, own noise"])
def test_dense_routes_know_what_is_left(name, route, monkeypatch, float64, rng):
    problem, std, _ = PROBLEMS[name](rng)
    force(monkeypatch, route)
    samples = {s: rng.normal(size=(len(problem.views["v"]), *source.shape)) for s, source in problem.sources.items()}
    expected = list(residuals(problem.views["v"], samples, std))
    np.testing.assert_allclose(bind(problem, "v").chi_square(samples), expected, rtol=1e-9)


def test_gaussian_priors_are_drawn_from_exactly_where_every_observation_is_of_its_own_kind(float64, rng):
    truth, n = Truth(rng, {"a": 20}), 1200
    std = rng.uniform(0.001, 0.3, size=(n, 20))
    y = np.broadcast_to(truth.draw(rng, "a", 1) + std[:1] * rng.normal(size=(1, 20)), std.shape).copy()
    y[0, 3] = np.nan
    std[2:] = std[1]  # a kind of its own, the same often, and one of another kind
    std[2:, 0] += 1e-9 * np.arange(n - 2)
    problem = Problem({"a": Source((20,))}, {"v": View(y, {"a": 1.0}, PerSample(std))})
    fit = GaussianFit(truth.populations)
    prior = fit.prior("a", (20,), Schedule())
    bound = ClosedForm().bind(problem.views["v"], {"a": prior}, key=jax.random.key(0))
    found = bound.draw(jax.random.split(jax.random.key(1), n))
    samples, chi_square = found.samples, found.chi_square
    # the prior is kept in single precision
    mean, covariance = prior.components().moments()
    N = np.diag(std[1] ** 2)
    gain = covariance @ np.linalg.inv(covariance + N)
    assert_gaussian(samples["a"][1:], mean + gain @ (y[1] - mean), covariance - gain @ covariance)
    residual = (y - samples["a"]) / std
    np.testing.assert_allclose(chi_square, np.nanmean(residual**2, axis=1), rtol=1e-3)


def test_groups_that_do_not_fit_into_memory_are_made_anew(monkeypatch, float64, rng):
    truth = Truth(rng)
    problem = contrastive(rng, truth, n=6, missing=True)
    force(monkeypatch, "groups")
    kept = bind(problem, "both")
    monkeypatch.setattr(groups, "KEPT", 0)
    anew = bind(problem, "both")
    assert anew.kept is None and anew.moments() is None
    assert anew.power("a") == kept.power("a")
    found = [bound.believe(truth.populations, 0) for bound in (kept, anew)]
    assert found[0].log_likelihood == found[1].log_likelihood
    np.testing.assert_array_equal(found[0].statistics["b"].second, found[1].statistics["b"].second)


LEADING = pytest.param(True, 1, id="missing, leading direction")


@pytest.mark.slow
@pytest.mark.parametrize("missing, rank", [pytest.param(False, None, id="complete"), LEADING])
def test_the_matrix_free_route_draws_from_the_same_posterior(missing, rank, monkeypatch, rng):
    truth, n = Truth(rng), 3000
    std = 0.8 if rank is None else 10.0  # the latter for draws close to those of the prior
    populations = {s: Gaussian.of(truth.mean[s], S, rank) for s, S in truth.covariance.items()}
    problem = contrastive(rng, truth, n=n, std=std, missing=missing)
    force(monkeypatch, "matrix free")
    belief = bind(problem, "both").believe(populations, 0)
    draws = np.concatenate([belief.statistics[s].draws for s in ("b", "a")], axis=1)
    means, covariances, _ = (
        np.array(part) for part in zip(*posteriors(problem.views["both"], populations, std), strict=True)
    )
    # what is left of a draw without its own mean has its own covariance
    left = draws - means
    expected = covariances.mean(0)
    np.testing.assert_array_less(np.abs(left.mean(0)), SIGMAS * np.sqrt(np.diag(expected) / n))
    products = np.einsum("ni,nj->nij", left, left)
    np.testing.assert_array_less(np.abs(products.mean(0) - expected), SIGMAS * products.std(0) / np.sqrt(n))
    assert belief.statistics["a"].n == n
    np.testing.assert_allclose(belief.statistics["a"].first, draws[:, 2:].sum(0), rtol=1e-4)


def test_views_are_sent_to_the_cheapest_exact_route(rng):
    small = contrastive(rng, Truth(rng), n=4)
    assert type(bind(small, "one")) is Systems
    shared = contrastive(rng, Truth(rng), n=300, shared=True)
    assert type(bind(shared, "both")) is Groups
    y = rng.normal(size=(60, 80))
    middle = Problem({"a": Source((80,))}, {"v": View(y, {"a": 1.0}, 0.1)})
    assert type(bind(middle, "v")) is Groups
    own = Problem({"a": Source((80,))}, {"v": View(y, {"a": 1.0}, PerSample(rng.uniform(0.1, 0.2, size=y.shape)))})
    assert type(bind(own, "v")) is Factors
    y = rng.normal(size=(2, 5000)).astype(np.float32)
    large = Problem({"a": Source((5000,))}, {"v": View(y, {"a": 1.0}, 0.1)})
    assert type(bind(large, "v")) is MatrixFree


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_populations_are_recovered(missing, rng):
    truth, n = Truth(rng), 1500
    problem = contrastive(rng, truth, n=n, missing=missing)
    fit = gaussian_em(problem, GaussianConfig(laps=100, tolerance=1e-9, ties=0))
    # the likelihood ratio against the truth is a chi-square with as many degrees of freedom as there are parameters
    at_truth = gaussian_em(problem, GaussianConfig(laps=1), fixed=truth.populations).log_likelihood[0]
    count = sum(view.y.size if view.observed is None else view.observed.sum() for view in problem.views.values())
    ratio = 2 * count * (fit.log_likelihood[-1] - at_truth)
    parameters = sum(d + d * (d + 1) // 2 for d in (3, 2))
    assert 0 < ratio < scipy.stats.chi2.isf(1e-6, parameters)
    for s in truth.mean:
        # with complete and noiseless data the standard errors are those of n draws; mixing costs a factor of a few
        scale = np.sqrt(np.diag(truth.covariance[s]))
        np.testing.assert_array_less(np.abs(fit.populations[s].mean - truth.mean[s]) / scale, 3 * SIGMAS / np.sqrt(n))
        off = np.abs(fit.populations[s].covariance() - truth.covariance[s]) / np.outer(scale, scale)
        np.testing.assert_array_less(off, 3 * SIGMAS * np.sqrt(2 / n))


@every_problem
@pytest.mark.parametrize("route", ["systems", "groups"])
def test_the_likelihood_never_falls(make, route, monkeypatch, float64, rng):
    problem, _, _ = make(rng)
    force(monkeypatch, route)
    fit = gaussian_em(problem, GaussianConfig(laps=12, tolerance=1e-300, ties=0))
    assert len(fit.log_likelihood) > 3
    assert np.all(np.diff(fit.log_likelihood) > -1e-10)
    assert fit.log_likelihood[3] > fit.log_likelihood[0]


def test_values_that_were_never_seen_to_vary_keep_some_variance(rng):
    # a pixel in five is lit now and then, the others are dark in all of thirty observations with missing pixels
    x = np.zeros((30, 5))
    x[:, 0] = rng.normal(size=30)
    observed = rng.random(x.shape) < 0.5
    problem = Problem({"a": Source((5,))}, {"v": View(x, {"a": 1.0}, 1e-3, observed=observed)})
    open_, closed = (
        gaussian_em(problem, GaussianConfig(laps=200, tolerance=1e-9, ties=ties)).populations["a"] for ties in (0.1, 0)
    )
    share = 0.1 * 5 / (30 + 0.1 * 5)
    assert np.linalg.eigvalsh(open_.covariance())[0] > share * open_.total_variance / 5
    assert np.diag(closed.covariance())[1:].max() < 1e-3 * share * closed.total_variance / 5
    # and what did vary does so by as much as before
    np.testing.assert_allclose(open_.covariance()[0, 0], closed.covariance()[0, 0], rtol=0.05)


def test_missing_values_take_no_part_in_the_systems_of_a_group(rng):
    observed = np.repeat([[True, False, True, True], [False, False, True, False], [False] * 4], 3, axis=0)
    bound = Problem({"a": Source((4,))}, {"v": View(rng.normal(size=(9, 4)), {"a": 1.0}, 0.1)}).views["v"]
    view = View(bound.y, bound.mixing, bound.noise, observed)  # a problem has no observations of nothing
    groups = grouped(view, {"a": (4,)})
    assert [list(group.values) for group in groups] == [[0, 2, 3], [2], [0]]
    assert not groups[2].A.any() and not groups[2].y.any() and groups[2].count == 0
    groups = groups[:2]
    for group in groups:
        assert group.A.shape == (len(group.values), 4)
        np.testing.assert_allclose(group.y, 10 * view.y[np.ix_(group.members, group.values)], rtol=1e-6)


def test_exact_routes_end_at_the_same_fit(monkeypatch, float64, rng):
    problem, fits = contrastive(rng, Truth(rng), n=12), []
    for route in ("systems", "groups"):
        force(monkeypatch, route)
        fits.append(gaussian_em(problem, GaussianConfig(laps=10, tolerance=1e-300)))
    np.testing.assert_allclose(fits[0].log_likelihood, fits[1].log_likelihood, rtol=1e-9)
    for s in problem.sources:
        np.testing.assert_allclose(fits[0].populations[s].mean, fits[1].populations[s].mean, atol=1e-8)
        covariances = [fit.populations[s].covariance() for fit in fits]
        np.testing.assert_allclose(*covariances, atol=1e-8)


@pytest.mark.slow
def test_the_matrix_free_route_ends_near_the_exact_fit(monkeypatch, rng):
    truth, n = Truth(rng), 400
    problem, config = contrastive(rng, truth, n=n), GaussianConfig(laps=10, tolerance=1e-300, large_subset=n)
    exact = gaussian_em(problem, config)
    force(monkeypatch, "matrix free")
    drawn = gaussian_em(problem, config)
    assert drawn.log_likelihood == []
    for s in truth.mean:
        # both saw the same data; draws add at most the sampling error of n of them, over the laps that EM remembers
        scale = np.sqrt(np.diag(truth.covariance[s]))
        error = np.abs(drawn.populations[s].mean - exact.populations[s].mean) / scale
        np.testing.assert_array_less(error, 3 * SIGMAS / np.sqrt(n))


@pytest.mark.slow
def test_no_view_is_dropped_when_another_is_too_large_for_matrices(monkeypatch, rng):
    # "small" alone knows the mean of the source; the view of many data is nothing but noise
    n, mean = 100, np.array([5.0, -3.0])
    x = mean + rng.normal(size=(n, 2))
    views = {
        "small": View(x + 0.01 * rng.normal(size=x.shape), {"a": 1.0}, 0.01),
        "large": View(rng.normal(size=(n, 40)), {"a": Dense(1e-3 * rng.normal(size=(40, 2)))}, 1.0),
    }
    monkeypatch.setattr(routes, "DENSE", 30)
    monkeypatch.setattr(routes, "SMALL", 4)
    fit = gaussian_em(Problem({"a": Source((2,))}, views), GaussianConfig(laps=10))
    np.testing.assert_allclose(fit.populations["a"].mean, mean, atol=1.0)


def test_no_laps_leave_populations_of_the_size_of_the_data(float64, rng):
    problem, known = contrastive(rng, truth := Truth(rng), n=12), truth.populations["a"]
    fit = gaussian_em(problem, GaussianConfig(laps=0), fixed={"a": known})
    found = fit.populations["b"]
    assert fit.populations["a"] is known and fit.log_likelihood == [] and not fit.converged
    np.testing.assert_array_equal(found.mean, 0)
    np.testing.assert_allclose(found.covariance(), found.total_variance / len(found.mean) * np.eye(len(found.mean)))
    assert found.total_variance > 0


@pytest.mark.parametrize("route", ["systems", "groups"])
def test_units_do_not_matter(route, monkeypatch, float64, rng):
    truth = Truth(rng)
    problem = contrastive(rng, truth, n=12)
    views = {s: View(1000 * view.y, view.mixing, 300.0) for s, view in problem.views.items()}
    force(monkeypatch, route)
    config = GaussianConfig(laps=10, tolerance=1e-300)
    one, thousand = gaussian_em(problem, config), gaussian_em(Problem(problem.sources, views), config)
    np.testing.assert_allclose(one.log_likelihood, thousand.log_likelihood, rtol=1e-9)
    for s in truth.mean:
        np.testing.assert_allclose(1e3 * one.populations[s].mean, thousand.populations[s].mean, rtol=1e-7)
        ratio = thousand.populations[s].covariance() / one.populations[s].covariance()
        np.testing.assert_allclose(ratio, 1e6, rtol=1e-6)


def test_fixed_populations_stay(rng):
    truth = Truth(rng)
    problem = contrastive(rng, truth, n=100)
    free = gaussian_em(problem, GaussianConfig(laps=5))
    wrong = Gaussian.of(truth.mean["a"], 1e-3 * truth.covariance["a"])  # the other has to explain the rest
    fit = gaussian_em(problem, GaussianConfig(laps=5), fixed={"a": wrong})
    assert fit.populations["a"] is wrong
    assert fit.populations["b"].total_variance > 1.3 * free.populations["b"].total_variance


def test_rank_restricts_the_covariance(rng):
    fit = gaussian_em(contrastive(rng, Truth(rng), n=100), GaussianConfig(laps=10, rank=1))
    values = np.linalg.eigvalsh(fit.populations["a"].covariance())
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    assert values[2] > values[1]
    assert fit.populations["a"].basis.shape == (3, 1)


def test_it_stops_when_nothing_is_gained_and_says_so(rng):
    problem, seen = contrastive(rng, Truth(rng), n=50), []
    fit = gaussian_em(problem, GaussianConfig(laps=50, tolerance=1e-2), report=lambda *call: seen.append(call))
    assert fit.converged
    assert len(fit.log_likelihood) == len(seen) < 50
    assert seen[0][:2] == (1, 50)
    assert not gaussian_em(problem, GaussianConfig(laps=2)).converged


def test_a_prior_from_a_fit_is_the_population_in_unit_variance(rng):
    truth = Truth(rng)
    problem = contrastive(rng, truth, n=100)
    fit = gaussian_em(problem, GaussianConfig(laps=5))
    prior, population = fit.prior("a", (3,), Schedule()), fit.populations["a"]
    scaling = prior.scaling
    np.testing.assert_allclose(scaling.to_user(np.asarray(prior.denoiser().mean)), population.mean, rtol=1e-5)
    np.testing.assert_allclose(scaling.scale**2 * prior.denoiser().covariance(), population.covariance(), atol=1e-5)
    z = np.asarray(prior.denoiser().mean)
    np.testing.assert_allclose(np.trace(prior.denoiser().covariance()) / 3 + (z**2).mean(), 1, rtol=1e-5)
    assert abs(z.mean()) < 1e-6


@pytest.mark.parametrize("ties", [0.0, 2.5])
@pytest.mark.parametrize("rank", [None, 2])
def test_populations_of_draws_are_their_moments(rank, ties, rng):
    x = rng.multivariate_normal(np.arange(4.0), random_covariance(rng, 4), size=50)
    drawn = Statistics(50, x.sum(0), draws=x).population(rank, ties)
    summed = Statistics(50, x.sum(0), second=x.T @ x).population(rank, ties)
    np.testing.assert_allclose(drawn.mean, summed.mean, atol=1e-10)
    np.testing.assert_allclose(drawn.total_variance, summed.total_variance, rtol=1e-10)
    np.testing.assert_allclose(summed.total_variance, np.trace(np.cov(x.T, bias=True)), rtol=1e-10)
    if rank is None:
        share = ties * 4 / (50 + ties * 4)
        tied = (1 - share) * np.cov(x.T, bias=True) + share * summed.total_variance / 4 * np.eye(4)
        np.testing.assert_allclose(summed.covariance(), tied, atol=1e-10)
    else:
        np.testing.assert_allclose(drawn.covariance(), summed.covariance(), atol=1e-9)


def test_pooling_adds(rng):
    parts = [Statistics(n, rng.normal(size=2), np.eye(2) * n) for n in (3, 5)]
    pooled = Statistics.pool(parts)
    assert pooled.n == 8
    np.testing.assert_allclose(pooled.first, parts[0].first + parts[1].first)
    np.testing.assert_allclose(pooled.second, 8 * np.eye(2))


def test_keys_of_the_matrix_free_route_differ_between_laps(monkeypatch, rng):
    truth = Truth(rng)
    problem = contrastive(rng, truth, n=40)
    force(monkeypatch, "matrix free")
    bound = bind(problem, "both")
    draws = [bound.believe(truth.populations, lap).statistics["a"].draws for lap in (0, 1, 0)]
    assert not np.allclose(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])
    assert jax.config.jax_enable_x64 is False
