"""Oddities of data: found where they are, and not where they are not."""

import numpy as np
import pytest

from dichroic import Dense, DenseNoise, Mask, PerSample, Problem, Source, View
from dichroic.design import check_data
from dichroic.design.data import spread_over_noise
from dichroic.operators import AsComplex


def problem_of(y, noise=0.1, shape=(4,), operator=1.0, **options):
    return Problem({"x": Source(shape)}, {"v": View(y, {"x": operator}, noise, **options)})


def said(problem, held_out=None):
    return [finding.text for finding in check_data(problem, held_out) if finding.level == "amber"]


@pytest.fixture
def y(rng):
    return 3 + rng.normal(size=(200, 4)) + 0.1 * rng.normal(size=(200, 4))


def test_sound_data_is_left_in_peace(y):
    assert check_data(problem_of(y)) == []
    assert said(problem_of(y), problem_of(y[:20] + 1e-3)) == []


@pytest.mark.parametrize("seed", range(20))
def test_pure_noise_of_the_stated_size_is_possible(seed):
    y = 0.1 * np.random.default_rng(seed).normal(size=(100, 8))
    assert said(problem_of(y, shape=(8,))) == []


def test_noise_larger_than_the_data(y):
    (text,) = said(problem_of(y, noise=3.0))
    assert text.startswith("the stated noise is 3.01 times")
    assert "standard deviation" in text


def test_noise_much_smaller_than_the_data(y):
    (text,) = said(problem_of(y, noise=1e-5))
    assert text.startswith("the stated noise is 1e-05 times")


def test_noise_that_is_too_large_in_one_direction(rng):
    y = rng.normal(size=(400, 4)) * [5.0, 5.0, 5.0, 0.05]
    (text,) = said(problem_of(y, noise=0.1))
    assert "in some direction the data varies 1.9 times less" in text


def test_noise_per_entry_per_sample_and_correlated(rng):
    std = np.array([0.1, 1.0, 10.0, 100.0])
    x = rng.normal(size=(300, 4)) * std
    L = np.linalg.cholesky(0.5 + 0.5 * np.eye(4))
    for noise, y in (
        (std, x),
        (PerSample(np.tile(std, (300, 1))), x),
        (DenseNoise.from_covariance(L @ L.T), rng.normal(size=(300, 4)) @ L.T),
    ):
        assert said(problem_of(y, noise=noise)) == []
        assert spread_over_noise(problem_of(y, noise=noise).views["v"]) == pytest.approx(1, rel=0.1)


def test_missing_entries_do_not_count(y, rng):
    y[:, 1:][rng.random((200, 3)) < 0.3] = np.nan
    assert said(problem_of(y)) == []
    whole = spread_over_noise(problem_of(np.nan_to_num(y, nan=3.0)).views["v"])
    assert spread_over_noise(problem_of(y).views["v"]) > whole


def test_complex_data(rng):
    y = 0.1 * (rng.normal(size=(200, 4)) + 1j * rng.normal(size=(200, 4)))
    problem = problem_of(y, shape=(4, 2), operator=AsComplex((4, 2)))
    assert said(problem) == []
    assert spread_over_noise(problem.views["v"]) == pytest.approx(1, rel=0.1)
    assert "the stated noise is 10 times" in said(problem_of(y, 1.0, (4, 2), AsComplex((4, 2))))[0]


@pytest.mark.parametrize(("value", "words"), [(0.0, "exactly 0"), (-999.0, "exactly -999")])
def test_values_that_stand_for_missing_ones(y, rng, value, words):
    y[rng.random(y.shape) < 0.05] = value
    text = " ".join(said(problem_of(y)))
    assert words in text
    assert "write NaN where data is missing" in text


def test_counts_repeat_themselves(rng):
    y = rng.poisson(2.0, size=(200, 32)).astype(float)
    assert said(problem_of(y, noise=1.0, shape=(32,))) == []


def test_values_from_another_world(y):
    y[3, 1] = 1e9
    assert "1 values are more than 1000 times the usual spread away, such as 1e+09" in said(problem_of(y))


@pytest.mark.parametrize(("value", "said_of"), [(-999.0, True), (1e20, True), (7.0, False)])
def test_one_value_that_stands_for_a_missing_one(y, value, said_of):
    y[3, 1] = value
    assert any("write NaN if" in text or "usual spread" in text for text in said(problem_of(y))) is said_of


def test_nothing_but_what_all_have_in_common(y):
    text = " ".join(said(problem_of(np.ones_like(y))))
    assert "nothing but what all observations have in common" in text and "inf" not in text


def test_entries_that_never_change(y):
    y[:, 2] = 1.5
    assert any("1 of 4 entries are the same in every observation" in text for text in said(problem_of(y)))


def test_copies(y):
    y[10], y[11] = y[3], y[3]
    (text,) = said(problem_of(y))
    assert text.startswith("2 of 200 observations are copies (samples 10, 11 repeat an earlier one")


def test_held_out_observations_that_were_learned_from(y):
    (text,) = said(problem_of(y), problem_of(np.concatenate([y[5:8], y[:4] + 0.01])))
    assert text.startswith("3 of 7 held-out observations are in the training data too")


def test_few_observations_and_known_truth(y):
    found = check_data(problem_of(y[:10], truth={"x": y[:10]}))
    assert [finding.level for finding in found] == ["green", "green"]
    assert found[0].text.startswith("10 observations are few")
    assert "the truth of 'x' is known" in found[1].text


def test_warnings_come_first_and_say_where(y):
    problem = Problem(
        {"x": Source((4,))}, {"a": View(y[:10], {"x": 1.0}, 0.1), "b": View(y, {"x": Mask(np.ones(4))}, 5.0)}
    )
    found = check_data(problem)
    assert [(finding.level, finding.where) for finding in found] == [("amber", "view 'b'"), ("green", "view 'a'")]


def test_one_observation(rng):
    assert [f.level for f in check_data(problem_of(rng.normal(size=(1, 4))))] == ["green"]


def test_operators_do_not_matter(y):
    A = np.ones((4, 7)) / 7
    assert said(problem_of(y, shape=(7,), operator=Dense(A))) == []


def test_what_never_changes_may_be_what_was_measured(y):
    y[:, 1] = 0.0
    text = " ".join(said(problem_of(y)))
    assert "(a dead pixel) mark them missing" in text and "(a count of zero), keep them" in text


@pytest.mark.parametrize("unit", [1e-17, 1.0, 1e6])
def test_a_large_offset_loses_digits(y, unit):
    text = " ".join(said(problem_of(unit * (y + 1e7), unit)))
    assert "rounded by up to 0.6 in single precision" in text if unit == 1 else "in single precision" in text
    assert "subtract a constant from y" in text
    assert "single precision" not in " ".join(said(problem_of(unit * (y + 1e4), unit)))


def test_noise_that_would_fit_either_way(rng):
    y, std = rng.normal(size=(8, 8)), np.linspace(0.1, 0.2, 8)

    def doubts(noise, n=8):
        return [f.code for f in check_data(problem_of(y[:n], noise, (8,))) if f.code == "DC109"]

    assert doubts(std) == ["DC109"]
    assert doubts(PerSample(std)) == doubts(0.1) == doubts(np.full(8, 0.1)) == doubts(std, n=7) == []
