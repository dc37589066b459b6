import numpy as np
import pytest

from dichroic.problem import Problem, Source, View
from dichroic.report.chi_figures import expected_density
from dichroic.report.describe import number, with_error
from dichroic.report.material import Material, Separated
from dichroic.report.residuals import ChiSquare, chi_square, residuals
from dichroic.report.verdict import judge_run


def make_view(n=200, m=8, missing=True, kind=float, seed=0):
    """A view whose truth is a posterior draw as good as exact: the noise is what it leaves."""
    rng = np.random.default_rng(seed)
    x = {s: rng.normal(size=(n, m)) for s in ("a", "b")}
    noise = rng.normal(size=(n, m)) + (1j * rng.normal(size=(n, m)) if kind is complex else 0)
    y = x["a"] - 2 * x["b"] + 0.3 * noise
    if missing:
        y[rng.random((n, m)) < 0.3] = np.nan
        y[:, 0] = 1.0  # something observed everywhere
        y[:, 0] = (x["a"] - 2 * x["b"] + 0.3 * noise)[:, 0]
    one = 1 + 0j if kind is complex else 1.0
    problem = Problem({s: Source((m,)) for s in x}, {"v": View(y, {"a": one, "b": -2 * one}, 0.3)})
    return problem.views["v"], x, noise


@pytest.mark.parametrize("kind", [float, complex])
def test_residuals_are_the_noise(kind):
    view, x, noise = make_view(kind=kind)
    r = residuals(view, x, np.arange(len(view)))
    np.testing.assert_allclose(r, np.where(view.observed, noise, 0), atol=2e-5)


@pytest.mark.parametrize("kind", [float, complex])
def test_chi_square_counts_what_was_observed(kind):
    view, x, noise = make_view(kind=kind)
    draws = {s: a[:, None] for s, a in x.items()}
    chi = chi_square(Separated("v", draws, np.zeros((len(view), 1), bool), None, view))
    assert chi is not None and chi.m is not None
    parts = 2 if kind is complex else 1
    np.testing.assert_array_equal(chi.m, parts * view.observed.sum(1))
    expected = (np.abs(noise) ** 2 * view.observed).sum(1) / chi.m
    np.testing.assert_allclose(chi.values[:, 0], expected, rtol=1e-3)
    assert chi.verdict == "as stated"
    assert abs(chi.mean - 1) < 5 * chi.error
    spread = chi.expected_width / np.sqrt(2 * len(view))  # of an estimated standard deviation, for a normal variable
    assert abs(chi.width - chi.expected_width) < 10 * spread


def test_expected_density_is_one():
    chi = ChiSquare("v", np.ones((3, 1)), np.array([5, 8, 12]), 0.0)
    x, density = expected_density(chi, 0.0, 8.0)
    assert density is not None
    np.testing.assert_allclose(np.trapezoid(density, x), 1, atol=0.01)
    np.testing.assert_allclose(np.trapezoid(x * density, x), 1, atol=0.01)


def test_worst_observations():
    values = np.array([[1.0, 1.2], [4.0, 2.0], [np.nan, np.nan], [np.nan, 9.0]])
    worst = ChiSquare("v", values, np.full(4, 8), 0.375).worst()
    assert [i for i, _, _ in worst] == [3, 1, 0]
    assert worst[1][1:] == pytest.approx((3.0, 4.0))  # two above 1, in widths of a half


@pytest.mark.parametrize(
    ("factor", "level", "word"),
    [(1.0, "green", "agree with the stated noise"), (1.5, "amber", "understated"), (0.5, "amber", "overstated")],
)
def test_verdict_follows_the_residuals(tmp_path, factor, level, word):
    from dichroic.settings import FitConfig

    values = factor * np.random.default_rng(0).chisquare(50, (300, 2)) / 50
    chi = {"v": ChiSquare("v", values, np.full(300, 50), 0.0)}
    material = Material(tmp_path, FitConfig(), {"sources": {}, "views": {}}, {}, finished=True)
    verdict = judge_run(material, chi, {})
    assert verdict.level == level
    assert word in verdict.sentence + " ".join(verdict.reasons)


def test_numbers():
    assert [number(x) for x in (1.0, 12345.678, 0.012345, -2.5, np.nan, None, 139.2)] == [
        "1",
        "12,346",
        "0.0123",
        "−2.5",
        "–",
        "–",
        "139",
    ]
    assert with_error(1.0199, 0.0035) == "1.0199 ± 0.0035"
    assert with_error(-0.00234, 0.019) == "−0.002 ± 0.019"
    assert with_error(3.0, None) == "3"
