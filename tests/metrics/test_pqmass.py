"""PQMass against the law it has under equality, and against other implementations."""

import sys

import numpy as np
import pytest
from scipy.stats import chi2_contingency, kstest

from dichroic.metrics import pqmass, pqmass_chi_square, pqmass_p_value
from dichroic.metrics.pqmass import HELD, _chi_square


def normal(seed, n, d=3):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("sizes", [(300, 300), (400, 200)])
def test_p_values_of_equal_laws_are_uniform(sizes):
    n, m = sizes
    found = [pqmass(normal((0, k), n), normal((1, k), m), references=15, tessellations=1, seed=k) for k in range(250)]
    p = np.concatenate([f.p_value for f in found])
    assert kstest(p, "uniform").pvalue > 1e-3
    statistic = np.concatenate([f.chi_square for f in found])
    assert statistic.mean() == pytest.approx(14, abs=4 * np.sqrt(28 / 250))


@pytest.mark.slow
def test_other_laws_are_found():
    x = normal(0, 400)
    for other in (normal(1, 400) + 0.5, 1.5 * normal(1, 400)):
        assert pqmass_p_value(x, other) < 0.01
        assert pqmass_chi_square(x, other) > 2
    assert pqmass_p_value(x, normal(1, 400)) > 0.05
    # closer than independent draws: truth and estimates of it
    assert pqmass_p_value(x, x + 1e-3 * normal(1, 400)) > 0.99


def test_chi_square_agrees_with_another_implementation():
    k, l = np.array([10, 0, 7, 3]), np.array([5, 0, 12, 9])  # noqa: E741
    expected = chi2_contingency(np.stack([k, l])[:, k + l > 0], correction=False)
    assert _chi_square(k, l) == (pytest.approx(expected.statistic), expected.dof)


def test_many_samples_are_treated_as_few_are(monkeypatch):
    x, y = normal(0, 150), normal(1, 120) + 0.2
    whole = pqmass(x, y, tessellations=20)
    assert HELD > 270
    monkeypatch.setattr(sys.modules[pqmass.__module__], "HELD", 10)
    np.testing.assert_allclose(pqmass(x, y, tessellations=20).chi_square, whole.chi_square)
    other = pqmass(x, y, tessellations=20, seed=1).chi_square
    assert not np.allclose(other, whole.chi_square)


def test_references_are_checked():
    with pytest.raises(ValueError, match="got 50 of 20 and 20"):
        pqmass(normal(0, 20), normal(1, 20), references=50)


def test_agrees_with_its_authors_implementation():
    pqm = pytest.importorskip("pqm")
    x, y = normal(0, 500), normal(1, 400) + 0.15
    np.random.seed(0)
    theirs = pqm.pqm_pvalue(x, y, num_refs=20, re_tessellation=200)
    ours = pqmass(x, y, references=20, tessellations=200).p_value
    error = np.hypot(np.std(theirs), np.std(ours)) / np.sqrt(200)
    assert abs(np.mean(theirs) - np.mean(ours)) < 4.5 * error
