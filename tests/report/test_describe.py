"""What is said of a view is said of what was observed: fillers at missing entries do not count."""

import numpy as np
import pytest

from dichroic.operators import DenseNoise, PerSample
from dichroic.problem import Problem, Source, View
from dichroic.report.describe import noise_in_words, signal_to_noise

N, D = 12, 4


def bound(y, noise):
    return Problem({"a": Source((D,))}, {"v": View(y, {"a": 1.0}, noise)}).views["v"]


@pytest.mark.parametrize("unit", [1e-17, 1.0, 1e9])
def test_fillers_are_not_shown(unit):
    rng = np.random.default_rng(0)
    y, std = unit * rng.normal(size=(N, D)), unit * rng.uniform(0.002, 0.004, size=(N, D))
    whole = bound(y.copy(), PerSample(std))
    gap = std.copy()
    y[3, 1], gap[3, 1] = np.nan, np.nan
    some = bound(y, PerSample(gap))
    seen = np.isfinite(y)
    words = noise_in_words(some).removeprefix("σ = ").replace("−", "-").split(",")[0]
    low, high = map(float, words.split(" to "))
    np.testing.assert_allclose([low, high], [std[seen].min(), std[seen].max()], rtol=0.01)
    expected = np.sqrt(np.mean(y[seen] ** 2) / np.mean(std[seen] ** 2))
    assert signal_to_noise(some) == pytest.approx(expected, rel=1e-5)
    assert signal_to_noise(some) == pytest.approx(signal_to_noise(whole), rel=0.2)
    shared = bound(np.where(np.arange(D) == 2, np.nan, y), np.where(np.arange(D) == 2, np.nan, std[0]))
    assert signal_to_noise(shared) > 50


def test_correlated_noise_is_said_to_be():
    y = np.random.default_rng(0).normal(size=(N, D))
    y[0, 0] = np.nan
    assert noise_in_words(bound(y, DenseNoise.from_covariance(4 * np.eye(D)))).startswith("correlated, σ = 2")
