"""Distances between sets against closed forms and independent implementations."""

import sys

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import norm, wasserstein_distance

from dichroic.metrics import emd, energy_distance, sliced_wasserstein
from dichroic.metrics.vectors import BLOCK


def normal(seed, n, *shape):
    return np.random.default_rng(seed).normal(size=(n, *shape))


def test_energy_distance_of_two_gaussians():
    # X - Y ~ N(m, 2), X - X' ~ N(0, 2); mean over repetitions, since the estimate is unbiased at any size
    m = 1.0
    s = np.sqrt(2)
    expected = 2 * (s * np.sqrt(2 / np.pi) * np.exp(-(m**2) / 4) + m * (1 - 2 * norm.cdf(-m / s))) - 4 / np.sqrt(np.pi)
    values = [energy_distance(normal((0, k), 20, 1), normal((1, k), 30, 1) + m) for k in range(400)]
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 20
    null = [energy_distance(normal((2, k), 5, 3), normal((3, k), 7, 3)) for k in range(400)]
    assert abs(np.mean(null)) < 4 * np.std(null) / 20


def test_energy_distance_agrees_with_another_implementation():
    x, y = normal(0, 200, 1), 0.3 + normal(1, 150, 1)
    within = [np.abs(z - z.T).sum() for z in (x, y)]
    # scipy's keeps the pairs of a sample with itself, and takes the root
    unbiased = [w * (1 / len(z) ** 2 - 1 / (len(z) * (len(z) - 1))) for w, z in zip(within, (x, y), strict=True)]
    expected = scipy_energy_distance(x[:, 0], y[:, 0]) ** 2 + sum(unbiased)
    assert energy_distance(x, y) == pytest.approx(expected, abs=1e-7)


def test_energy_distance_in_blocks_and_far_from_the_origin():
    x, y = normal(0, BLOCK + 100, 3), normal(1, 50, 3)
    expected = 2 * cdist(x, y).mean() - cdist(x, x).sum() / (len(x) * (len(x) - 1)) - cdist(y, y).sum() / (50 * 49)
    assert energy_distance(x + 1e3, y + 1e3) == pytest.approx(expected, rel=1e-6)


def test_sliced_wasserstein_of_gaussians():
    d = 6
    x = normal(0, 10_000, d)
    # between N(0, I) and N(m, 4 I), for every direction W2^2 = (theta^T m)^2 + (2 - 1)^2
    m = np.arange(d) / 3
    value = sliced_wasserstein(x, 2 * normal(1, 10_000, d) + m, projections=2000)
    assert value**2 == pytest.approx(m @ m / d + 1, rel=0.04)
    # the same sample moved: no noise but that of the directions
    theta = np.random.default_rng(0).standard_normal((d, 64))
    theta /= np.linalg.norm(theta, axis=0)
    assert sliced_wasserstein(x[:100], x[:100] + m, projections=64) ** 2 == pytest.approx(((theta.T @ m) ** 2).mean())


@pytest.mark.parametrize("n, m", [(50, 50), (30, 47), (12, 36)])
@pytest.mark.parametrize("order", [1.0, 2.0])
def test_sliced_wasserstein_agrees_with_another_implementation(n, m, order):
    x, y = normal(0, n, 4), 0.5 + normal(1, m, 4)
    theta = np.random.default_rng(3).standard_normal((4, 100))
    theta /= np.linalg.norm(theta, axis=0)
    expected = ot.sliced_wasserstein_distance(x, y, projections=theta, p=order)
    assert sliced_wasserstein(x, y, order, projections=100, seed=3) == pytest.approx(expected)
    assert sliced_wasserstein(x, x, order) == 0


def test_emd_agrees_with_assignment_and_with_one_dimension():
    x, y = normal(0, 80, 3), 0.5 + normal(1, 80, 3)
    for order in (1.0, 2.0):
        cost = cdist(x, y) ** order
        expected = cost[linear_sum_assignment(cost)].mean() ** (1 / order)
        assert emd(x, y, order) == pytest.approx(expected)
    u, v = normal(2, 70, 1), 1 + normal(3, 40, 1)
    assert emd(u, v) == pytest.approx(wasserstein_distance(u[:, 0], v[:, 0]))
    assert emd(x, x + 0.7, order=2.0) == pytest.approx(0.7 * np.sqrt(3))
    assert emd(x, x) == pytest.approx(0, abs=1e-6)


def test_emd_of_two_gaussians():
    # in one dimension, W2^2 between N(0, 1) and N(m, s^2) is m^2 + (s - 1)^2
    value = emd(normal(0, 1500, 1), 3 * normal(1, 1500, 1) + 2, order=2.0)
    assert value**2 == pytest.approx(8, rel=0.15)


def test_emd_without_pot_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match="pip install pot"):
        emd(normal(0, 5, 1), normal(1, 5, 1))
