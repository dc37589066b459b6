"""Observations with noise, gaps and amplitudes of their own, of sources of several components, against brute force."""

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.special import logsumexp

from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, GaussianConfig, components_em, gaussian_em, routes
from dichroic.closed.factors import Factors
from dichroic.closed.groups import Groups
from dichroic.closed.routes import NoRoute, bind_components, bind_view
from dichroic.diffusion import DenoiserPrior, Scaling, Schedule
from dichroic.operators import AsComplex, Convolve, Dense, DenseNoise, FourierSample, Mask, PerSample
from dichroic.posterior.closed_form import ClosedForm
from dichroic.problem import Problem, Source, View
from dichroic.white.arrays import factored, stacked
from oracles import assert_gaussian, random_covariance

N, M = 9, 5


def noise_and_gaps(rng, n=N):
    y = 2 * rng.normal(size=(n, M))
    y[1, 2] = y[3, :4] = np.nan
    mixing = {"a": Dense(rng.normal(size=(M, 3))), "b": Dense(rng.normal(size=(M, 2)))}
    return View(y, mixing, PerSample(rng.uniform(0.2, 0.6, size=(n, M)))), {"a": (3,), "b": (2,)}


def amplitudes(rng, n=N):
    """Behind one blur, and before masks; another source through masks alone."""
    mask = PerSample(Mask((rng.random((n, M)) < 0.7).astype(float)))
    gain = PerSample(rng.uniform(0.5, 2, n))
    a = Problem({"a": Source((M,))}, {"v": View(np.zeros((n, M)), {"a": gain}, 1.0)}).views["v"].mixing["a"]
    mixing = {"a": Convolve(np.array([0.2, 0.5, 0.3]), (M,)) @ a, "b": mask}
    return View(2 * rng.normal(size=(n, M)), mixing, 0.3), {"a": (M,), "b": (M,)}


def waves(rng, n=N):
    y = rng.normal(size=(n, M)) + 1j * rng.normal(size=(n, M))
    y[2, 1] = np.nan
    gain = PerSample(Mask(rng.uniform(0.5, 2, size=(n, M))))
    mixing = {"a": FourierSample(np.ones(M), (M,)), "b": gain @ AsComplex((M, 2))}
    return View(y, mixing, PerSample(rng.uniform(0.2, 0.6, n))), {"a": (M,), "b": (M, 2)}


VIEWS = {"noise and gaps": noise_and_gaps, "amplitudes": amplitudes, "waves": waves}
every_view = pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
SIZES = pytest.mark.parametrize("sizes", [(1, 1), (3, 2)], ids=["Gaussians", "components"])


def case(make, sizes=(3, 2), n=N, seed=0):
    rng = np.random.default_rng(seed)
    view, shapes = make(rng, n)
    sources = {s: Source(shape) for s, shape in shapes.items()}
    view = Problem(sources, {"v": view}).views["v"]
    components = {}
    for (s, shape), K in zip(shapes.items(), sizes, strict=True):
        d = int(np.prod(shape))
        S = np.stack([random_covariance(rng, d) for _ in range(K)])
        components[s] = Components(rng.dirichlet(np.full(K, 5.0)), 2 * rng.normal(size=(K, d)), S)
    return view, shapes, components


def brute_force(view, shapes, components):
    """Log-likelihood, mean and covariance of the stacked sources, of every observation."""
    A, y, count = (np.asarray(a) for a in stacked(view, shapes))
    a, b = (components[s] for s in view.mixing)
    for i in range(len(view)):
        log_p, means, covariances = [], [], []
        for k in range(len(a)):
            for j in range(len(b)):
                mean = np.concatenate([a.means[k], b.means[j]])
                S = scipy.linalg.block_diag(a.covariances[k], b.covariances[j])
                C = A[i] @ S @ A[i].T + np.eye(y.shape[1])
                gain = S @ A[i].T @ np.linalg.inv(C)
                missing = 0.5 * np.log(2 * np.pi) * (y.shape[1] - count[i])
                law = scipy.stats.multivariate_normal(A[i] @ mean, C)
                log_p.append(np.log(a.weights[k] * b.weights[j]) + law.logpdf(y[i]) + missing)
                means.append(mean + gain @ (y[i] - A[i] @ mean))
                covariances.append(S - gain @ A[i] @ S)
        share = np.exp(log_p - logsumexp(log_p))
        yield logsumexp(log_p), share, np.array(means), np.array(covariances)


@every_view
@SIZES
def test_log_likelihood_and_mean(make, sizes):
    view, shapes, components = case(make, sizes)
    bound = Factors(view, shapes)
    found = list(brute_force(view, shapes, components))
    np.testing.assert_allclose(bound.log_likelihood(components), [each[0] for each in found], rtol=1e-9)
    mean = bound.mean(components)
    expected = np.stack([share @ means for _, share, means, _ in found])
    np.testing.assert_allclose(np.concatenate([mean[s].reshape(N, -1) for s in shapes], 1), expected, atol=1e-9)


@every_view
@SIZES
def test_statistics_are_those_of_every_observation_by_itself(make, sizes, float64):
    view, shapes, components = case(make, sizes)
    each = Groups(view, shapes, [np.array([i]) for i in range(N)])
    (value, found), (expected_value, expected) = (
        bound.statistics(components) for bound in (Factors(view, shapes), each)
    )
    assert value == pytest.approx(expected_value, rel=1e-10)
    for s in shapes:
        for part in ("count", "first", "second"):
            np.testing.assert_allclose(getattr(found[s], part), getattr(expected[s], part), rtol=1e-8, atol=1e-8)
        assert Factors(view, shapes).power(s) == pytest.approx(each.power(s))
    samples = {s: np.random.default_rng(1).normal(size=(N, *shape)) for s, shape in shapes.items()}
    np.testing.assert_allclose(Factors(view, shapes).chi_square(samples), each.chi_square(samples), rtol=1e-9)


@pytest.mark.parametrize("make", [noise_and_gaps, amplitudes])
def test_draws_are_of_the_posterior(make):
    view, shapes, components = case(make)
    n, i = 500, 3
    many = view.select(np.full(n, i))
    _, share, means, covariances = list(brute_force(view, shapes, components))[i]
    mean = share @ means
    away = means - mean
    covariance = np.einsum("k,kij->ij", share, covariances) + (share * away.T) @ away
    draws = Factors(many, shapes).draw(components, jax.random.split(jax.random.key(0), n))
    x = np.concatenate([draws[s].reshape(n, -1) for s in shapes], 1)
    error = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(x.mean(0) - mean) < 5 * error).all()
    np.testing.assert_allclose(
        np.cov(x.T), covariance, atol=0.25 * np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))).max()
    )
    one = {s: Components(np.ones(1), x.means[:1], x.covariances[:1]) for s, x in components.items()}
    _, _, means, covariances = list(brute_force(view, shapes, one))[i]
    draws = Factors(many, shapes).draw(one, jax.random.split(jax.random.key(1), n))
    assert_gaussian(np.concatenate([draws[s].reshape(n, -1) for s in shapes], 1), means[0], covariances[0])


def test_what_differs_by_more_than_factors_has_none(rng):
    view = View(rng.normal(size=(4, M)), {"a": PerSample(Dense(rng.normal(size=(4, M, 3))))}, 0.3)
    assert factored(view, {"a": (3,)}) is None
    correlated = View(
        rng.normal(size=(4, M)),
        {"a": PerSample(Mask(rng.random((4, M)) < 0.5))},
        DenseNoise.from_covariance(np.eye(M) + 0.1),
    )
    bound = Problem({"a": Source((M,))}, {"v": correlated}).views["v"]
    assert factored(bound, {"a": (M,)}) is None
    turned = View(y := rng.normal(size=(30, M)) + 1j * rng.normal(size=(30, M)), {"a": PerSample(y[:, 0])}, 0.3)
    problem = Problem({"a": Source((M,), dtype=complex)}, {"v": turned})
    assert factored(problem.views["v"], {"a": (M, 2)}) is None
    assert type(bind_components(problem.views["v"], {"a": (M, 2)})) is Groups
    assert np.isfinite(gaussian_em(problem, GaussianConfig(laps=2)).log_likelihood).all()


def test_routes_by_cost(monkeypatch):
    rng = np.random.default_rng(0)
    y, gains = rng.normal(size=(60, 40)), PerSample(rng.uniform(0.5, 1.5, 60))

    def bound(mixing, noise):
        return Problem({"a": Source((40,))}, {"v": View(y, {"a": mixing}, noise)}).views["v"]

    own, shapes = PerSample(rng.uniform(0.1, 0.3, size=y.shape)), {"a": (40,)}
    assert type(bind_components(bound(1.0, own), shapes)) is Factors
    assert type(bind_components(bound(gains, 0.1), shapes)) is Factors
    assert type(bind_view(bound(gains, 0.1), shapes, 10, 0)) is Factors
    assert type(bind_components(bound(1.0, 0.1), shapes)) is Groups
    matrices = PerSample(Dense(rng.normal(size=(60, 40, 40))))
    assert type(bind_components(bound(matrices, 0.1), shapes)) is Groups
    monkeypatch.setattr(routes, "BUDGET_OF_MANY", 1e6)
    with pytest.raises(NoRoute, match="60 of 60 observations of 40 values have operators, noise or gaps of their own"):
        bind_components(bound(matrices, 0.1), shapes)


@pytest.mark.parametrize("what", ["noise", "amplitudes"])
def test_components_are_found_under_noise_maps_and_amplitudes(what):
    rng, n, d = np.random.default_rng(4), 240, 8
    centres = 2 * rng.normal(size=(2, d))
    x = centres[rng.integers(2, size=n)] + 0.3 * rng.normal(size=(n, d))
    gain = rng.uniform(0.5, 1.5, n) if what == "amplitudes" else np.ones(n)
    std = rng.uniform(0.1, 0.8, size=(n, d)) if what == "noise" else np.full((n, d), 0.3)
    y = gain[:, None] * x + std * rng.normal(size=(n, d))
    y[rng.random(y.shape) < 0.1] = np.nan
    mixing = PerSample(gain) if what == "amplitudes" else 1.0
    problem = Problem({"a": Source((d,))}, {"v": View(y, {"a": mixing}, PerSample(std) if what == "noise" else 0.3)})
    kept, held = problem.split(0.2)
    start = {s: Components.of(p) for s, p in gaussian_em(kept, GaussianConfig(laps=20)).populations.items()}
    found = components_em(kept, start, ComponentsConfig(components=2, polish=5), held_out=held)
    assert found.sizes["a"] == 2 and not found.refused
    order = np.argsort(found.components["a"].means[:, 0])
    np.testing.assert_allclose(found.components["a"].means[order], centres[np.argsort(centres[:, 0])], atol=0.25)
    scores = [score for _, score in found.held_out]
    assert scores == sorted(scores)


def test_closed_form_draws_of_components_under_noise_maps():
    view, shapes, components = case(noise_and_gaps)
    priors = {s: DenoiserPrior.of(components[s], shape, Schedule(), Scaling(), {}) for s, shape in shapes.items()}
    bound = ClosedForm().bind(view, priors, key=jax.random.key(0))
    drawn = bound.draw(jax.random.split(jax.random.key(1), N))
    assert bound.exact and drawn.samples["a"].shape == (N, 3) and not drawn.diverged.any()
