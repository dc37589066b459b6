"""How often intervals of draws hold the truth."""

import numpy as np
import pytest
from scipy.stats import norm

from dichroic.metrics import coverage, coverage_per_sample, draws_for


@pytest.mark.parametrize(("share", "draws"), [(0.5, 3), (0.5, 8), (0.9, 19), (0.9, 32)])
def test_draws_of_the_same_law_hold_their_share_whatever_their_number(rng, share, draws):
    x, truth = rng.normal(size=(4000, draws, 4)), rng.normal(size=(4000, 4))
    found = coverage_per_sample(x, truth, share)
    assert coverage(x, truth, share) == pytest.approx(share, abs=4 * found.std() / len(found) ** 0.5)


def test_draws_that_are_too_narrow(rng):
    truth = rng.normal(size=(2000, 5))
    x = 0.5 * rng.normal(size=(2000, 199, 5))
    found = coverage_per_sample(x, truth, 0.9)
    expected = 2 * norm.cdf(0.5 * norm.ppf(0.95)) - 1
    assert coverage(x, truth, 0.9) == pytest.approx(expected, abs=4 * found.std() / len(found) ** 0.5 + 0.01)


def test_what_a_bound_cuts_off_counts_as_its_ranks_do(rng):
    # of a law that is cut off at zero, truths and draws are often equal
    x, truth = (np.maximum(rng.normal(size=shape), 0) for shape in ((4000, 19, 2), (4000, 2)))
    varies = np.ptp(x, axis=1) > 0
    assert varies.all()
    found = coverage_per_sample(x, truth, 0.5)
    assert found.mean() == pytest.approx(0.5, abs=4 * found.std() / len(found) ** 0.5)
    # and of entries that never vary nothing is said
    x[:, :, 1] = truth[:, 1] = 0.0
    alone = coverage_per_sample(x[:, :, :1], truth[:, :1], 0.5)
    np.testing.assert_array_equal(coverage_per_sample(x, truth, 0.5), alone)
    assert np.isnan(coverage_per_sample(x[:, :, 1:], truth[:, 1:], 0.5)).all()


def test_an_interval_needs_draws():
    assert [draws_for(share) for share in (0.5, 0.8, 0.9, 0.95)] == [3, 9, 19, 39]
    with pytest.raises(ValueError, match="needs 19 draws; got 18"):
        coverage(np.zeros((2, 18, 1)), np.zeros((2, 1)), 0.9)
