"""Unknowns of an instrument by the profile likelihood: closed forms where one source is known, and stated noise that is
wrong.
"""

import numpy as np
import pytest

from dichroic import Dense, PerSample, Problem, Scale, Source, Unknown, View
from dichroic.algebra import Gaussian
from dichroic.closed import learn_instrument
from dichroic.operators import GaussianBlur

N, S = 400, 1.7  # observations of one number, and the variance of its source
KNOWN = {"x": Gaussian(np.zeros(1), np.eye(1), np.array([S]), 0.0)}


def alone(gain, noise, seed=0, unit=1.0):
    y = unit * np.random.default_rng(seed).normal(size=(N, 1)) * np.sqrt(S * 0.6**2 + 0.5**2)
    return Problem({"x": Source((1,))}, {"v": View(y, {"x": gain}, noise)}), float(np.mean(y**2))


@pytest.mark.slow
def test_noise_beside_a_known_source_is_what_is_left_of_the_variance():
    problem, power = alone(0.6, Unknown(0.3))
    found = learn_instrument(problem, fixed=KNOWN)
    variance = power - 0.36 * S
    assert found.converged
    assert found.values["v"]["noise"] == pytest.approx(np.sqrt(variance) / 0.3, rel=1e-3)
    # the information about log sigma is 2 n (sigma^2 / (sigma^2 + g^2 s))^2
    expected = np.sqrt(variance) / 0.3 * power / (variance * np.sqrt(2 * N))
    assert found.stds["v"]["noise"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("unit", [1.0, 1e-17])
def test_the_gain_of_a_known_source(unit):
    """From units of the source to those of the data, whatever these are."""
    problem, power = alone(Unknown(1.0 * unit), 0.5 * unit, unit=unit)
    found, power = learn_instrument(problem, fixed=KNOWN), power / unit**2
    gain = np.sqrt((power - 0.25) / S)
    assert found.values["v"]["mixing.x"] / unit == pytest.approx(gain, rel=1e-3)
    assert found.stds["v"]["mixing.x"] / unit == pytest.approx(power / (gain * S * np.sqrt(2 * N)), rel=0.05)


def test_a_stated_gain_moves_as_far_as_the_data_say():
    """To the highest point of the posterior, on a grid."""
    problem, power = alone(Unknown(1.0, 0.05), 0.5)
    found = learn_instrument(problem, fixed=KNOWN)
    g = np.linspace(0.3, 1.3, 100001)
    C = g**2 * S + 0.25
    log = -N / 2 * (np.log(C) + power / C) - (g - 1) ** 2 / 2 / 0.05**2
    # steps end where less than a thousandth is to gain: a twentieth of the standard deviation
    assert abs(found.values["v"]["mixing.x"] - g[log.argmax()]) < 0.05 * found.stds["v"]["mixing.x"]
    assert found.stds["v"]["mixing.x"] < 0.05


def test_the_width_of_a_blur_of_a_known_source():
    """The highest point of the evidence, on a grid, and its curvature there."""
    rng, d, n = np.random.default_rng(1), 6, 300
    B = rng.normal(size=(d, d))
    C = B @ B.T / d

    def covariance(w):
        K = np.exp(-(np.subtract.outer(np.arange(d), np.arange(d)) ** 2) / 2 / w**2)
        K /= np.exp(-(np.arange(-40, 41) ** 2) / 2 / w**2).sum()
        return K @ C @ K.T + 0.2**2 * np.eye(d)

    y = rng.normal(size=(n, d)) @ np.linalg.cholesky(covariance(1.4)).T
    view = View(y, {"x": GaussianBlur(Unknown(1.0), (d,))}, 0.2)
    known = {"x": Gaussian.of(np.zeros(d), C)}
    found = learn_instrument(Problem({"x": Source((d,))}, {"v": view}), fixed=known)
    grid = np.linspace(1.0, 2.0, 501)
    log = [-(n * np.linalg.slogdet(S)[1] + np.sum(y @ np.linalg.inv(S) * y)) / 2 for S in map(covariance, grid)]
    best = int(np.argmax(log))
    std = 1 / np.sqrt(-np.polyfit(grid[best - 20 : best + 21] - grid[best], log[best - 20 : best + 21], 2)[0] * 2)
    assert abs(found.values["v"]["mixing.x"] - grid[best]) < 0.1 * std
    assert found.stds["v"]["mixing.x"] == pytest.approx(std, rel=0.1)
    assert abs(grid[best] - 1.4) < 4 * std


def test_a_matrix_of_coefficients_of_a_known_source():
    """What data of as many numbers as the source say of a matrix: its covariance, here with one coefficient unknown."""
    rng = np.random.default_rng(2)
    y = 0.8 * rng.normal(size=(4000, 1)) + 0.3 * rng.normal(size=(4000, 1))
    view = View(y, {"x": Dense(Unknown(np.array([[0.5]])))}, 0.3)
    found = learn_instrument(
        Problem({"x": Source((1,))}, {"v": view}), fixed={"x": Gaussian.of(np.zeros(1), np.eye(1))}
    )
    assert found.values["v"]["mixing.x"].item() == pytest.approx(np.sqrt(np.mean(y**2) - 0.09), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("times", [0.7, 1.4])
def test_stated_noise_that_is_wrong_comes_back(times):
    """Three other rows of five numbers in every observation: what the table says can be learned."""
    rng, d, n = np.random.default_rng(0), 5, 16384  # of 4,096 the standard deviation is 3 % itself
    roots = [np.linalg.cholesky(B @ B.T / d + 0.1 * np.eye(d)) for B in rng.normal(size=(2, d, d))]
    views = {}
    for v, amplitudes in enumerate([(1.0, 0.0), (1.0, 0.5)]):
        rows = rng.normal(size=(n, 3, d))
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        x = sum(a * rng.normal(size=(n, d)) @ L.T for a, L in zip(amplitudes, roots, strict=True))
        y = np.einsum("nab,nb->na", rows, x) + 0.3 * rng.normal(size=(n, 3))
        shown = {s: PerSample(Dense(rows)) @ Scale(a, (d,)) for s, a in zip("xz", amplitudes, strict=True) if a}
        views[f"v{v}"] = View(y, shown, Unknown(0.3 * times))
    found = learn_instrument(Problem({"x": Source((d,)), "z": Source((d,))}, views))
    for unknowns, stds in zip(found.values.values(), found.stds.values(), strict=True):
        assert times * unknowns["noise"] == pytest.approx(1.0, abs=0.03)
        assert abs(times * unknowns["noise"] - 1) < 3 * times * stds["noise"]
