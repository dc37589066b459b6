"""Metrics of estimates beside their truth: SI-SDR and flux bias."""

import numpy as np
import pytest

from dichroic.metrics import flux_bias, flux_bias_per_sample, si_sdr, si_sdr_per_sample


def orthogonal_to(truth: np.ndarray, z: np.ndarray) -> np.ndarray:
    return z - (z * truth).sum(1, keepdims=True) / (truth**2).sum(1, keepdims=True) * truth


def test_si_sdr_of_a_known_distortion(rng):
    truth = rng.normal(size=(4, 50))
    distortion = orthogonal_to(truth, rng.normal(size=(4, 50)))
    size = np.linalg.norm(truth, axis=1) / np.linalg.norm(distortion, axis=1)
    wanted = np.array([-3.0, 0.0, 12.5, 40.0])
    x = truth + distortion * (size * 10 ** (-wanted / 20))[:, None]
    np.testing.assert_allclose(si_sdr_per_sample(x, truth), wanted, atol=1e-9)
    assert si_sdr(x, truth) == pytest.approx(wanted.mean())


def test_si_sdr_does_not_depend_on_scale(rng):
    truth = rng.normal(size=(5, 3, 4))
    x, scale = truth + rng.normal(size=truth.shape), rng.uniform(0.1, 10, size=(5, 1, 1))
    expected = si_sdr_per_sample(x, truth)
    np.testing.assert_allclose(si_sdr_per_sample(scale * x, truth), expected)
    np.testing.assert_allclose(si_sdr_per_sample(-x, scale * truth), expected)
    # as an angle
    cosine = (x * truth).sum((1, 2)) / np.sqrt((x**2).sum((1, 2)) * (truth**2).sum((1, 2)))
    np.testing.assert_allclose(expected, 10 * np.log10(cosine**2 / (1 - cosine**2)))


def test_si_sdr_around_the_mean(rng):
    truth = rng.normal(size=(3, 20))
    x = truth + 0.1 * rng.normal(size=truth.shape)
    np.testing.assert_allclose(si_sdr_per_sample(x + 5, truth, centre=True), si_sdr_per_sample(x, truth, centre=True))
    assert si_sdr(x + 5, truth) < si_sdr(x, truth)


def test_si_sdr_at_its_ends():
    truth = np.array([[1.0, 0.0]])
    assert si_sdr(3 * truth, truth) == 150
    assert si_sdr([[0.0, 1.0]], truth) == si_sdr(0 * truth, truth) == -150
    with pytest.raises(ValueError, match="sample 1 is zero"):
        si_sdr(np.ones((2, 2)), [[1.0, 0.0], [0.0, 0.0]])


def test_flux_bias_of_a_known_error():
    truth = np.array([[1.0, 3.0], [-1.0, -1.0], [2.0, 2.0], [0.0, 0.0]])  # totals 4, -2, 4 and 0: size 2.5
    x = truth + np.array([[0.5, 0.0], [0.0, 0.0], [0.5, -0.5], [1.0, 0.5]])
    np.testing.assert_allclose(flux_bias_per_sample(x, truth), [0.2, 0, 0, 0.6])
    assert flux_bias(x, truth) == pytest.approx(0.2)
    assert flux_bias(0.9 * np.abs(truth), np.abs(truth)) == pytest.approx(-0.1)
    assert flux_bias(1e3 * x, 1e3 * truth) == pytest.approx(0.2)


def test_flux_bias_without_flux():
    with pytest.raises(ValueError, match="the total of every truth is zero"):
        flux_bias(np.ones((2, 2)), [[1.0, -1.0], [0.0, 0.0]])
