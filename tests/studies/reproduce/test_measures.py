"""The numbers of the tables, in their readings."""

from dataclasses import replace

import numpy as np
import pytest

from dichroic.metrics import half_samples, psnr, sliced_wasserstein
from dichroic.studies.reproduce import MEASURES, Estimates, measure


def estimates(n=40, draws=4, error=0.1, seed=0, **options):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3))
    x = truth[:, None] + error * rng.normal(size=(n, draws, 3))
    return Estimates(x, truth, prior=rng.normal(size=(n, 3)), **options)


@pytest.mark.parametrize("name", [name for name in MEASURES if "sinkhorn" not in name])
def test_every_number_has_an_interval_and_its_number_of_samples(name):
    pytest.importorskip("ot")
    case = estimates(draws=19)
    case = replace(case, seen=(case.draws.mean(1), case.truth), bits=lambda x: x > 0)
    found = measure(name, case, set_size=16, replicates=4)
    assert found is not None
    assert found.interval.low <= found.interval.estimate <= found.interval.high
    assert found.samples == (16 if MEASURES[name].kind in ("paired", "independent", "prior") else 40)


def test_draws_means_and_peaks():
    case = estimates(peak=4.0)
    assert measure("psnr", case).interval.estimate == pytest.approx(psnr(case.draws[:, 0], case.truth, 4.0))
    assert measure("psnr_mean", case).interval.estimate == pytest.approx(psnr(case.draws.mean(1), case.truth, 4.0))


def test_values_of_all_observations_together():
    case = estimates(n=400)
    x, truth = case.draws.mean(1), case.truth
    error = ((x - truth) ** 2).mean()
    assert measure("rmse", case).interval.estimate == pytest.approx(error**0.5)
    assert measure("sdr", case).interval.estimate == pytest.approx(10 * np.log10((truth**2).mean() / error))
    assert measure("psnr_pooled", case).interval.estimate == pytest.approx(10 * np.log10(truth.max() ** 2 / error))
    case.truth[7] = 1.0  # constant: it correlates with nothing, and is left out
    found, kept = measure("correlation", case), np.arange(400) != 7
    by_hand = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x[kept], truth[kept], strict=True)])
    assert found.interval.estimate == pytest.approx(by_hand) and found.samples == 399


def test_deviations_that_are_stated_and_errors_that_are_made():
    rng = np.random.default_rng(0)
    mean, truth = rng.normal(size=(2, 4000, 3)) * [[[0.0]], [[1.0]]]
    draws = mean[:, None] + 0.5 * rng.normal(size=(4000, 8, 3))  # half as wide as the truth
    found = measure("inflation", Estimates(draws, truth)).interval
    # the mean of 8 draws is off itself, which the truth's own variance does not know of
    assert found.estimate == pytest.approx(((1 + 0.25 / 8) / (0.25 * (1 + 1 / 8))) ** 0.5, rel=0.02)
    assert measure("inflation", Estimates(draws[:, :1], truth)) is None


def test_intervals_that_hold_the_truth():
    rng = np.random.default_rng(0)
    mean, truth = rng.normal(size=(2, 500, 6)) * [[[0.0]], [[1.0]]]
    case = Estimates(mean[:, None] + rng.normal(size=(500, 19, 6)), truth)
    half, most = (measure(f"coverage_{share}", case).interval for share in (50, 90))
    assert half.low < 0.5 < half.high and most.low < 0.9 < most.high
    few = replace(case, draws=case.draws[:, :18])
    assert measure("coverage_50", few) is not None and measure("coverage_90", few) is None
    assert measure("coverage_50", replace(case, point=True)) is None


def test_what_the_view_shows():
    case = estimates(n=50)
    shown = Estimates(case.draws, case.truth, seen=(case.draws.mean(1) / 2, case.truth / 2))
    assert measure("psnr_seen", case) is None
    x, truth = shown.seen
    expected = 10 * np.log10(truth.max() ** 2 / ((x - truth) ** 2).mean())
    assert measure("psnr_seen", shown).interval.estimate == pytest.approx(expected)


def test_pairs_are_closer_than_strangers():
    case = estimates(n=200, error=1e-3)
    paired = sliced_wasserstein(case.draws[:, 0], case.truth)
    assert measure("sliced", case).interval.estimate > 20 * paired
    # the published reading meets every draw with its own truth, and finds the two sets too alike to be independent
    assert measure("pqmass_published", case).interval.estimate > 0.95
    first = case.draws[:100, 0]
    assert measure("sliced", case).interval.estimate == sliced_wasserstein(first, case.truth[100:])


def test_what_diverged_is_left_out_and_counted():
    case = estimates()
    case.draws[3, 0] = np.nan
    case.draws[5] = np.nan
    assert measure("psnr", case).samples == 38
    assert measure("psnr_mean", case).samples == 39
    kept = [i for i in range(40) if i != 5]
    mean = np.nanmean(case.draws[kept], axis=1)
    assert measure("psnr_mean", case).interval.estimate == pytest.approx(psnr(mean, case.truth[kept]))


def test_observations_of_one_truth_count_once():
    once = estimates(n=10)
    same = Estimates(np.repeat(once.draws, 8, 0), np.repeat(once.truth, 8, 0))
    a, b = (measure("psnr", case).interval for case in (once, same))
    assert a.estimate == pytest.approx(b.estimate)
    assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.2)


def test_intervals_end_where_values_end():
    case = estimates(n=16, error=1.0)
    p, distance = (measure(name, case, replicates=4).interval for name in ("pqmass", "pqmass_chi2"))
    assert p.low >= 0 and p.high <= 1 and p.high - p.low > 0.5  # so few samples leave much open
    assert 0 == distance.low < distance.estimate < distance.high


def test_point_estimates_have_no_draws_and_some_methods_no_prior():
    case = estimates(draws=1)
    point = Estimates(case.draws, case.truth, point=True)
    assert measure("psnr", point) is None and measure("sliced", point) is None
    assert measure("prior_sliced", point) is None
    assert measure("psnr_mean", point) is not None


def test_half_samples_know_the_error_of_a_mean(rng):
    n, errors, covered = 64, [], 0
    for trial in range(200):
        x = rng.normal(size=n)
        low, estimate, high = half_samples(lambda rows, x=x: x[rows].mean(), n, replicates=16, seed=trial)
        assert estimate == pytest.approx(x.mean())
        errors.append((high - low) / 2 / 2.131)  # Student's t at 15 degrees of freedom
        covered += low <= 0 <= high
    # the standard error of the mean, 1/8, with the error of its own mean over trials
    assert np.mean(errors) == pytest.approx(n**-0.5, abs=4 * np.std(errors) / 200**0.5 + 0.01 * n**-0.5)
    assert covered / 200 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 200) ** 0.5)


def test_half_samples_need_samples():
    with pytest.raises(ValueError, match="expected 4 samples and 2 replicates or more, got 3 and 16"):
        half_samples(lambda rows: 0.0, 3)
