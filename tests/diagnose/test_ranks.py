"""The tests behind all levels: uniform p-values where nothing is wrong, small ones where something is."""

import numpy as np
import pytest
from scipy import stats

from dichroic.diagnose.ranks import RankCounter, gamma_test, mean_test, normal_scores, score_tests


def uniform(p):
    """The p-value of p-values being uniform."""
    return stats.kstest(p, "uniform").pvalue


def test_ranks_are_exactly_uniform_also_with_ties(rng):
    for draw in (lambda n: rng.normal(size=n), lambda n: rng.poisson(1.0, n).astype(float)):
        counter = RankCounter(draw(20_000))
        for _ in range(5):
            counter.add(draw(20_000))
        assert uniform(counter.uniform(rng)) > 1e-3


def test_ranks_are_those_of_a_full_sort(rng):
    truth, draws = rng.normal(size=50), rng.normal(size=(9, 50))
    counter = RankCounter(truth)
    for x in draws:
        counter.add(x)
    np.testing.assert_array_equal(counter.below, (draws < truth).sum(0))
    u = counter.uniform(rng)
    assert np.all((u > counter.below / 10) & (u < (counter.below + 1) / 10))


def test_a_draw_that_failed_ranks_nothing(rng):
    counter = RankCounter(np.array([0.0, 1.0]))
    counter.add(np.array([1.0, np.nan]))
    np.testing.assert_array_equal(np.isnan(counter.uniform(rng)), [False, True])


@pytest.mark.parametrize("n", [16, 200])
def test_p_values_of_scores_are_uniform(rng, n):
    tests = [score_tests(rng.normal(size=n)) for _ in range(600)]
    for what in ("bias", "spread", "shape"):
        assert uniform([t[what][1] for t in tests]) > 1e-3, what


def test_gamma_test_keeps_its_level_where_students_does_not(rng):
    """Means of three dependent squares, unusually few of them: the tail that decides about alarms."""
    p, student = [], []
    for _ in range(2500):
        z = rng.normal(size=(100, 1)) * np.sqrt(0.5) + rng.normal(size=(100, 3)) * np.sqrt(0.5)
        w = (z**2).mean(1)
        p.append(gamma_test(w)[1])
        student.append(mean_test(w - 1)[1])
    # at most 2.5 times its level, less chance; Student's test is off by more
    assert np.mean(np.array(p) < 0.002) < 0.005 + 2 * np.sqrt(0.005 / 2500)
    assert np.mean(np.array(student) < 0.002) > np.mean(np.array(p) < 0.002)
    assert gamma_test(1.3 * w)[1] < gamma_test(w)[1]


def test_scores_see_narrow_wide_and_biased_draws(rng):
    truth = rng.normal(size=400)
    for draw, what, sign in (
        (lambda: 0.6 * rng.normal(size=400), "spread", 1),
        (lambda: 1.5 * rng.normal(size=400), "spread", -1),
        (lambda: rng.normal(size=400) - 0.5, "bias", 1),
    ):
        counter = RankCounter(truth)
        for _ in range(31):
            counter.add(draw())
        value, p = score_tests(normal_scores(counter.uniform(rng)))[what]
        assert p < 1e-6
        assert np.sign(value - (what == "spread")) == sign
