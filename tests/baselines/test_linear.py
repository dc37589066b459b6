"""The linear baselines against eigenvectors, dense densities and the closed form of the posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from baseline_cases import half_amplitude, matrices
from dichroic import Dense, PerSample, Problem, ProblemError, Source, View
from dichroic.baselines import (
    PCPCA,
    CLVMLinear,
    CLVMLinearConfig,
    ContrastivePCA,
    ContrastivePCAConfig,
    PCPCAConfig,
    Wiener,
    WienerConfig,
    wiener,
)
from dichroic.baselines.contrast import find_contrasts
from dichroic.baselines.factors import FactorModel
from dichroic.operators import take
from oracles import SIGMAS


def blocks(view: View, i: int) -> dict[str, np.ndarray]:
    """The operators of one observation as matrices, restricted to what it observed."""
    seen = np.ones(view.event_shape, bool) if view.observed is None else view.observed[i]
    return {s: np.asarray(operator.value.matrix[i], float)[seen] for s, operator in view.mixing.items()}


def posterior(view: View, i: int, mean, covariance, std: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stacked mean and covariance of Gaussian sources given one observation, and the observation's own moments."""
    A = np.concatenate(list(blocks(view, i).values()), 1)
    S = scipy.linalg.block_diag(*[covariance[s] for s in view.mixing])
    m = np.concatenate([mean[s] for s in view.mixing])
    y = view.y[i] if view.observed is None else view.y[i][view.observed[i]]
    C = A @ S @ A.T + std**2 * np.eye(len(A))
    gain = S @ A.T @ np.linalg.inv(C)
    return m + gain @ (y - A @ m), S - gain @ A @ S, scipy.stats.multivariate_normal(A @ m, C).logpdf(y)


@pytest.mark.parametrize("components", [1, 4], ids=["more data than latents", "more latents than data"])
def test_the_factor_model_is_a_dense_gaussian(components, float64, rng):
    problem = matrices(4, missing=True)
    mean = {s: rng.normal(size=5) for s in problem.sources}
    W = {s: rng.normal(size=(components, 5)) for s in problem.sources}
    model = FactorModel({s: jnp.asarray(m) for s, m in mean.items()}, {s: jnp.asarray(w) for s, w in W.items()})
    view, covariance = problem.views["both"], {s: w.T @ w for s, w in W.items()}

    @jax.jit
    def evaluate(i):
        observation = take(view.observations, i)
        draws = jax.vmap(lambda k: model.draw(observation, k))(jax.random.split(jax.random.key(0), 4000))
        return model.log_likelihood(observation), model.mean(observation), draws

    for i in range(len(view)):
        log_likelihood, found, draws = evaluate(jnp.asarray(i))
        expected, V, log_density = posterior(view, i, mean, covariance, 0.2)
        count = view.observed[i].sum()
        np.testing.assert_allclose(log_likelihood - count * np.log(0.2 * np.sqrt(2 * np.pi)), log_density, rtol=1e-9)
        np.testing.assert_allclose(np.concatenate([found[s] for s in view.mixing]), expected, atol=1e-9)
        left = np.concatenate([draws[s] for s in view.mixing], 1) - expected
        error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / len(left)) + 1e-12
        np.testing.assert_array_less(np.abs(left.T @ left / len(left) - V) / error, SIGMAS + 0.5)


def moments(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Mixture and background in units of the target, whose amplitude is one half."""
    return problem.views["both"].y.astype(float) / 0.5, problem.views["empty"].y.astype(float) / 0.5


@pytest.mark.parametrize("mean", ["difference", "likelihood"])
def test_pcpca_of_complete_data_is_an_eigenproblem(mean):
    problem, gamma, variance = half_amplitude(300), 0.4, (0.1 / 0.5) ** 2
    fit = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=gamma, mean=mean))
    assert fit.record["contrasts"][0]["solved"] == "in closed form"
    x, b = moments(problem)
    common = (x.mean(0) - gamma * b.mean(0)) / (1 - gamma)
    own = mean == "difference"
    u, v = (x - x.mean(0), b - b.mean(0)) if own else (x - common, b - common)
    values, Q = np.linalg.eigh((u.T @ u / len(x) - gamma * v.T @ v / len(b)) / (1 - gamma))
    expected = (Q[:, -2:] * np.maximum(values[-2:] - variance, 0)) @ Q[:, -2:].T
    W = fit.arrays["star/loadings"]
    np.testing.assert_allclose(fit.arrays["star/mean"], x.mean(0) - b.mean(0) if own else common, atol=1e-5)
    np.testing.assert_allclose(W.T @ W, expected, atol=1e-4)


def test_pcpca_climbs_to_the_closed_form():
    problem = half_amplitude(300)
    exact = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=0.4))
    climbed = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=0.4, closed_form=False, tolerance=1e-14))
    values = climbed.record["contrasts"][0]["log_likelihood_ratio"]
    assert np.all(np.diff(values) >= 0)
    assert values[-1] > values[0]
    W = [fit.arrays["star/loadings"] for fit in (exact, climbed)]
    np.testing.assert_allclose(W[0].T @ W[0], W[1].T @ W[1], atol=2e-3)
    np.testing.assert_allclose(exact.arrays["star/mean"], climbed.arrays["star/mean"], atol=1e-3)
    published = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=0.4, objective="published"))
    down = published.record["contrasts"][0]["log_likelihood_ratio"]
    assert down[-1] < down[0]


def test_pcpca_finds_the_mean_of_a_target_over_a_bright_background():
    n, std, gamma, rng = 2000, 0.1, 0.3, np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    mean = {"sky": 10 * rng.normal(size=4), "star": rng.normal(size=4)}
    roots = {s: rng.normal(size=(4, 4)) for s in mean}
    sky, under, star = (mean[s] + rng.normal(size=(n, 4)) @ roots[s] for s in ("sky", "sky", "star"))
    noise = std * rng.normal(size=(2, n, 4))
    A, B = 0.5 * Q, 1.5 * Q  # the background three times as strong
    data = [(sky @ B.T + noise[0]).astype(np.float32), (under @ B.T + star @ A.T + noise[1]).astype(np.float32)]
    views = {
        "empty": View(data[0], {"sky": Dense(B)}, std),
        "both": View(data[1], {"sky": Dense(B), "star": Dense(A)}, std),
    }
    problem = Problem({s: Source((4,)) for s in mean}, views)
    fit = PCPCA.fit(problem, PCPCAConfig(components=4, gamma=gamma))
    assert fit.record["contrasts"][0]["solved"] == "in closed form"

    b, x = (y.astype(float) @ np.linalg.inv(A).T for y in data)
    error = np.sqrt((x.var(0) + b.var(0)) / n)
    assert np.max(np.abs(fit.arrays["star/mean"] - mean["star"]) / error) < SIGMAS
    S = (np.cov(x.T, bias=True) - gamma * np.cov(b.T, bias=True)) / (1 - gamma) - (std / 0.5) ** 2 * np.eye(4)
    values, V = np.linalg.eigh(S)
    C = (V * np.maximum(values, 0)) @ V.T
    W = fit.arrays["star/loadings"]
    np.testing.assert_allclose(W.T @ W, C, atol=1e-4 * values.max())
    gain = C @ A.T @ np.linalg.inv(A @ C @ A.T + std**2 * np.eye(4))
    expected = (x - b).mean(0) + (data[1] - data[1].astype(float).mean(0)) @ gain.T
    found = fit.separate(problem, draws=0).mean("both", "star")
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # one mean for both views takes the background for the target
    common = PCPCA.fit(problem, PCPCAConfig(components=4, gamma=gamma, mean="likelihood"))
    assert np.max(np.abs(common.arrays["star/mean"] - mean["star"]) / error) > 10 * SIGMAS


def test_pcpca_takes_the_mean_of_every_background_through_its_own_operator():
    rng, n, std = np.random.default_rng(0), 30, 0.2
    shown = {"empty": ["sky", "cloud"], "both": ["sky", "cloud", "star"]}
    views = {}
    for name, sources in shown.items():
        y = rng.normal(3.0, 1.0, size=(n, 4))
        y[:, 1:][rng.random((n, 3)) < 0.2] = np.nan
        # every observation has its own matrices and amplitudes
        mixing = {s: PerSample(Dense(rng.uniform(0.2, 2) * rng.normal(size=(n, 4, 3)))) for s in sources}
        views[name] = View(y, mixing, std)
    problem = Problem({s: Source((3,)) for s in shown["both"]}, views)
    fit = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=0.2, iterations=5))

    def stacked(view: View, sources: list[str]) -> np.ndarray:
        return np.concatenate([np.concatenate([blocks(view, i)[s] for s in sources], 1) for i in range(n)])

    data = {v: view.y[view.observed].astype(float) for v, view in problem.views.items()}
    empty, both = problem.views["empty"], problem.views["both"]
    background = np.linalg.lstsq(stacked(empty, shown["empty"]), data["empty"], rcond=None)[0]
    left = {v: data[v] - stacked(view, shown["empty"]) @ background for v, view in problem.views.items()}
    mean = {
        "sky": background[:3],
        "cloud": background[3:],
        "star": np.linalg.lstsq(stacked(both, ["star"]), left["both"])[0],
    }
    np.testing.assert_allclose(fit.arrays["star/mean"], mean["star"], atol=1e-4)
    # what was climbed is the likelihood ratio of what the means leave
    W, ratio = fit.arrays["star/loadings"], 0.0
    left["both"] = left["both"] - stacked(both, ["star"]) @ mean["star"]
    c = find_contrasts(problem)[0].amplitude(problem)
    for view, s, gain, weight in ((both, "star", 1.0, 1.0), (empty, "sky", c, -0.2)):
        ends = np.cumsum(view.counts)[:-1]
        for i, r in enumerate(np.split(left["both" if view is both else "empty"], ends)):
            M = gain * blocks(view, i)[s] @ W.T
            density = scipy.stats.multivariate_normal(np.zeros(len(r)), M @ M.T + std**2 * np.eye(len(r))).logpdf(r)
            ratio += weight / n * (density + len(r) * np.log(std * np.sqrt(2 * np.pi)))
    assert fit.record["contrasts"][0]["log_likelihood_ratio"][-1] == pytest.approx(ratio, rel=1e-4)
    # the posterior is that of backgrounds that are known
    covariance = {"sky": np.zeros((3, 3)), "cloud": np.zeros((3, 3)), "star": W.T @ W}
    found = fit.separate(problem, draws=0).mean("both", "star")
    for i in range(n):
        expected = posterior(both, i, mean, covariance, std)[0][-3:]
        np.testing.assert_allclose(found[i], expected, atol=2e-3)


def test_pcpca_without_a_background_is_probabilistic_pca():
    rng = np.random.default_rng(0)
    problem = half_amplitude(300)
    x, _ = moments(problem)
    fit = PCPCA.fit(problem, PCPCAConfig(components=2, gamma=0.0, closed_form=False, tolerance=1e-14))
    W = fit.arrays["star/loadings"]
    C = W.T @ W + (0.1 / 0.5) ** 2 * np.eye(4)

    def log_likelihood(C):
        return -0.5 * (np.linalg.slogdet(C)[1] + np.trace(np.linalg.solve(C, np.cov(x.T, bias=True))))

    values, Q = np.linalg.eigh(np.cov(x.T, bias=True))
    best = (Q[:, -2:] * (values[-2:] - 0.04)) @ Q[:, -2:].T + 0.04 * np.eye(4)
    np.testing.assert_allclose(log_likelihood(C), log_likelihood(best), atol=1e-6)
    nudged = W + 0.05 * rng.normal(size=W.shape)
    assert log_likelihood(nudged.T @ nudged + 0.04 * np.eye(4)) < log_likelihood(C)


@pytest.mark.parametrize("amplitude", [0.5, -2.0])
def test_the_background_is_read_in_units_of_the_target(amplitude):
    problem = matrices(30, amplitude=amplitude)
    (contrast,) = find_contrasts(problem)
    assert (contrast.target, contrast.mixture, contrast.background) == ("star", "both", "empty")
    assert contrast.amplitude(problem) == pytest.approx(amplitude, rel=1e-5)
    _, stand_in = contrast.through_the_target(problem)
    x = np.ones(5, np.float32)
    expected = amplitude * blocks(problem.views["empty"], 3)["sky"] @ x
    np.testing.assert_allclose(take(stand_in.mixing["star"], 3)(jnp.asarray(x)), expected, rtol=1e-5)


def test_contrastive_pca_is_an_eigenproblem():
    problem = half_amplitude(200)
    fit = ContrastivePCA.fit(problem, ContrastivePCAConfig(components=1, alpha=1.5))
    x, b = moments(problem)
    values, U = np.linalg.eigh(np.cov(x.T, bias=True) - 1.5 * np.cov(b.T, bias=True))
    assert fit.record["contrasts"][0]["eigenvalues"] == pytest.approx([values[-1]], rel=1e-4)
    assert abs(fit.arrays["star/components"][0] @ U[:, -1]) == pytest.approx(1, abs=1e-5)
    found = fit.separate(problem).mean("both", "star")
    expected = x.mean(0) - b.mean(0) + np.outer((x - x.mean(0)) @ U[:, -1], U[:, -1])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_contrastive_pca_of_many_pixels_needs_no_matrix(monkeypatch):
    from dichroic.baselines import cpca

    problem = half_amplitude(50, shape=(30,))
    dense = ContrastivePCA.fit(problem, ContrastivePCAConfig(components=2))
    monkeypatch.setattr(cpca, "DENSE", 8)
    thin = ContrastivePCA.fit(problem, ContrastivePCAConfig(components=2))
    U, V = (fit.arrays["star/components"] for fit in (dense, thin))
    np.testing.assert_allclose(U.T @ U, V.T @ V, atol=1e-6)


def test_contrastive_pca_says_which_data_is_incomplete():
    with pytest.raises(
        ProblemError, match=r"view 'both': contrastive PCA needs complete data, but in sample 0 .* 'star'"
    ):
        ContrastivePCA.fit(matrices(20))


@pytest.mark.slow
def test_clvm_linear_finds_the_subspaces_and_the_amplitude():
    problem = matrices(1500, std=0.1)
    fit = CLVMLinear.fit(problem, CLVMLinearConfig(components=2))
    values = fit.record["log_likelihood"]
    assert np.all(np.diff(values) >= 0)
    for s in problem.sources:
        x = problem.views["both"].truth[s]
        truth = np.cov(x.T)
        W = fit.arrays[f"{s}/loadings"]
        # five standard errors of a covariance of 1500 draws, of which the mixing costs a factor of a few
        assert np.abs(W.T @ W - truth).max() < 5 * 3 * np.abs(truth).max() * np.sqrt(2 / 1500)
        space, _ = np.linalg.qr(np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2].T)
        assert scipy.linalg.subspace_angles(W.T, space).max() < 0.1
        assert np.abs(fit.arrays[f"{s}/mean"] - x.mean(0)).max() < 0.3
    # the likelihood that it climbed is that of a dense Gaussian
    mean = {s: fit.arrays[f"{s}/mean"] for s in problem.sources}
    covariance = {s: fit.arrays[f"{s}/loadings"].T @ fit.arrays[f"{s}/loadings"] for s in problem.sources}
    dense = [
        posterior(view, i, mean, covariance, 0.1)[2] + view.y[i].size * np.log(0.1 * np.sqrt(2 * np.pi))
        for view in problem.views.values()
        for i in range(len(view))
    ]
    assert values[-1] == pytest.approx(np.mean(dense), rel=1e-6)


@pytest.mark.slow
def test_clvm_linear_does_not_depend_on_the_units():
    problem = half_amplitude(60)
    views = {v: View(1000 * x.y, x.mixing, 100.0) for v, x in problem.views.items()}
    config = CLVMLinearConfig(components=1, iterations=5)
    one, thousand = (CLVMLinear.fit(p, config) for p in (problem, Problem(problem.sources, views)))
    for name, a in one.arrays.items():
        np.testing.assert_allclose(thousand.arrays[name], 1000 * a, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("route", ["factors", "dense", "iteration"])
def test_wiener_is_the_linear_posterior(route, monkeypatch, float64):
    problem = matrices(8, missing=True)
    rows = np.array([0, 0, 0, 0, 1, 1, 1, 1]) if route == "dense" else np.arange(8)
    views = {v: x.select(rows) for v, x in problem.views.items()}
    rng = np.random.default_rng(1)
    views = {v: View(rng.normal(size=x.y.shape), x.mixing, 0.2, x.observed) for v, x in views.items()}
    problem = Problem(problem.sources, views)
    fit = Wiener.fit(problem, WienerConfig(gaussian={"laps": 3}))
    if route != "factors":
        monkeypatch.setattr(wiener, "EXACT_SIZE", 0)
        monkeypatch.setattr("dichroic.posterior.covariance.EXACT_SIZE", 0)
    if route == "iteration":
        monkeypatch.setattr(wiener, "BUDGET", 0.0)
    mean = {s: p.mean for s, p in fit.fitted.populations.items()}
    covariance = {s: p.covariance() for s, p in fit.fitted.populations.items()}
    found = fit.separate(problem, draws=0)
    view = problem.views["both"]
    tolerance = 1e-4 if route == "iteration" else 1e-6  # float32 in the priors; float32 in the store
    for i in range(8):
        expected, _, _ = posterior(view, i, mean, covariance, 0.2)
        got = np.concatenate([found.mean("both", s)[i] for s in view.mixing])
        np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())
    if route == "factors":  # its draws have a test of their own
        return
    draws = fit.separate(problem, draws=40)
    for i in (0, 7):
        _, V, _ = posterior(view, i, mean, covariance, 0.2)
        left = np.concatenate([draws.draws("both", s)[i] - found.mean("both", s)[i] for s in view.mixing], 1)
        error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / 40)
        np.testing.assert_array_less(np.abs(left.T @ left / 40 - V) / error, SIGMAS)
    # observations of one group have keys of their own
    assert not np.isclose(draws.draws("both", "sky")[0], draws.draws("both", "sky")[4]).any()


@pytest.mark.parametrize("size", [12, 30], ids=["factors", "dense"])
@pytest.mark.parametrize("missing", [0.25, 0.75])
def test_draws_of_wiener_fit_accurate_data(missing, size):
    """In single precision, and by as many conjugate gradients as pay, chi-square came out in the hundreds."""
    rng, std = np.random.default_rng(2), 2.5e-4
    roots = np.random.default_rng(5).normal(size=(size, size)) * np.geomspace(1, 1e-3, size)
    x = rng.normal(size=(200, size)) @ roots.T + 1
    y = np.where(rng.random(x.shape) < missing, np.nan, x + std * rng.normal(size=x.shape)).astype(np.float32)
    y[:, 0] = np.where(np.isnan(y).all(1), np.float32(1), y[:, 0])
    problem = Problem({"a": Source((size,))}, {"v": View(y, {"a": 1.0}, std)})
    found = Wiener.fit(problem, WienerConfig(gaussian={"laps": 10})).separate(problem, draws=2)
    count = 2 * problem.views["v"].counts.sum()
    mean = np.average(found.chi_square["v"].mean(1), weights=problem.views["v"].counts)
    # of the very populations, by the law of large numbers; EM's after a few laps are within a few percent
    assert mean == pytest.approx(1, abs=0.05 + SIGMAS * np.sqrt(2 / count))


def test_wiener_estimates_as_well_as_regression_on_the_truth():
    def problem(n, seed):
        rng, roots = np.random.default_rng(seed), np.random.default_rng(5).normal(size=(2, 3, 3))
        sky, under, star = (rng.normal(size=(n, 3)) @ root for root in (roots[0], roots[0], roots[1]))
        noise = 0.5 * rng.normal(size=(2, n, 3))
        views = {
            "empty": View(sky + noise[0], {"sky": 1.0}, 0.5),
            "both": View(under + 0.8 * star + noise[1], {"sky": 1.0, "star": 0.8}, 0.5, truth={"star": star}),
        }
        return Problem({"sky": Source((3,)), "star": Source((3,))}, views)

    train, test = problem(4000, 0), problem(4000, 1)
    estimate = Wiener.fit(train).separate(test, draws=0).mean("both", "star")
    train, test = train.views["both"], test.views["both"]
    B = np.linalg.lstsq(np.column_stack([np.ones(4000), train.y]), train.truth["star"], rcond=None)[0]
    best = np.column_stack([np.ones(4000), test.y]) @ B
    errors = [np.mean((x - test.truth["star"]) ** 2) for x in (estimate, best)]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert errors[0] < 0.7 * np.var(test.truth["star"])


def test_wiener_says_when_a_system_was_not_solved(monkeypatch):
    monkeypatch.setattr(wiener, "EXACT_SIZE", 0)
    monkeypatch.setattr("dichroic.posterior.covariance.EXACT_SIZE", 0)
    monkeypatch.setattr(wiener, "BUDGET", 0.0)
    monkeypatch.setattr(wiener, "RESIDUAL", 0.0)
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 3, 3))
    problem = Problem({"a": Source((3,))}, {"v": View(rng.normal(size=(4, 3)), {"a": PerSample(Dense(A))}, 0.1)})
    with pytest.warns(UserWarning, match="view 'v': the linear systems of . of 4 observations were not solved"):
        Wiener.fit(problem, WienerConfig(gaussian={"laps": 1})).separate(problem, draws=0)
