"""Units do not matter: every closed-form stage, by every route, finds the same in any of them."""

import numpy as np
import pytest

from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, GaussianConfig, components_em, gaussian_em, routes
from dichroic.closed.factors import Factors
from dichroic.closed.groups import Groups
from dichroic.closed.matrix_free import MatrixFree
from dichroic.closed.systems import Systems
from dichroic.operators import Dense
from dichroic.problem import Problem, Source, View
from oracles import random_covariance

FACTORS = [1e-20, 1e-10, 1e10, 1e20]
ROUTES = {"systems": Systems, "groups": Groups, "factors": Factors, "matrix free": MatrixFree}


def problem(view: float = 1.0, source: float = 1.0) -> Problem:
    """Data `view` times as large, of sources `source` times as large behind operators that undo it."""
    rng, n = np.random.default_rng(0), 32
    A = {"a": np.eye(3), "b": rng.normal(size=(3, 3))}
    x = {"a": rng.multivariate_normal(np.ones(3), random_covariance(rng, 3), size=(2, n))}
    x["b"] = rng.choice([-3.0, 3.0], size=(2, n, 1)) + 0.5 * rng.normal(size=(2, n, 3))
    both = x["a"][1] + x["b"][1] @ A["b"].T
    std = 0.1 * view
    alone, both = (view * (y + 0.1 * rng.normal(size=y.shape)) for y in (x["a"][0], both))
    mixing = {s: Dense(view / source * matrix) for s, matrix in A.items()}
    views = {"alone": View(alone, {"a": mixing["a"]}, std), "both": View(both, mixing, std)}
    return Problem({s: Source((3,)) for s in A}, views)


def force(monkeypatch, route: str) -> None:
    cheapest = routes.cheapest
    monkeypatch.setattr(routes, "DENSE", 0 if route == "matrix free" else 4096)
    monkeypatch.setattr(routes, "SMALL", 0 if route == "matrix free" else 16)
    monkeypatch.setattr(routes, "cheapest", lambda found: cheapest({route: found[route]} if route in found else {}))


@pytest.mark.parametrize("what", ["view", "source"])
@pytest.mark.parametrize("route", ROUTES)
def test_the_gaussian_stage(route, what, monkeypatch):
    force(monkeypatch, route)
    config = GaussianConfig(laps=8, tolerance=1e-300)
    one = gaussian_em(problem(), config)
    # operators of groups, and draws, are in single precision; draws differ by what eight laps make of that
    accuracy = {"matrix free": 1e-3, "groups": 1e-5}.get(route, 1e-7)
    for factor in FACTORS[:: 4 if route == "matrix free" else 1]:
        found = gaussian_em(problem(**{what: factor}), config)
        larger = 1.0 if what == "view" else factor
        np.testing.assert_allclose(found.log_likelihood, one.log_likelihood, rtol=accuracy)
        for s, x in one.populations.items():
            y = found.populations[s]
            size = np.sqrt(np.abs(x.covariance()).max())
            np.testing.assert_allclose(np.asarray(y.mean) / larger, x.mean, atol=accuracy * size)
            np.testing.assert_allclose(y.covariance() / larger / larger, x.covariance(), atol=accuracy * size**2)


@pytest.mark.parametrize("what", [pytest.param("view", marks=pytest.mark.slow), "source"])
def test_the_components_stage(what):
    start = {s: Components.of(x) for s, x in gaussian_em(problem()).populations.items()}
    one = components_em(problem(), start, ComponentsConfig(components=2, polish=8))
    assert one is not None and max(one.sizes.values()) == 2
    for factor in FACTORS:
        larger = 1.0 if what == "view" else factor
        begin = {
            s: Components(x.weights, larger * x.means, larger * (larger * x.covariances)) for s, x in start.items()
        }
        found = components_em(problem(**{what: factor}), begin, ComponentsConfig(components=2, polish=8))
        assert found is not None and found.sizes == one.sizes
        np.testing.assert_allclose(found.log_likelihood, one.log_likelihood, rtol=1e-6)
        for s, x in one.components.items():
            y, size = found.components[s], np.abs(x.covariances).max()
            np.testing.assert_allclose(y.weights, x.weights, atol=1e-5)
            np.testing.assert_allclose(y.means / larger, x.means, atol=1e-5 * np.sqrt(size))
            np.testing.assert_allclose(y.covariances / larger / larger, x.covariances, atol=1e-5 * size)
