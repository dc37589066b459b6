import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from dichroic.metrics import bootstrap, psnr, psnr_per_sample


def test_agrees_with_another_implementation():
    rng = np.random.default_rng(0)
    truth = rng.random((5, 8, 8, 1))
    x = truth + 0.1 * rng.normal(size=truth.shape)
    expected = [peak_signal_noise_ratio(t, e, data_range=4.0) for t, e in zip(truth, x, strict=True)]
    np.testing.assert_allclose(psnr_per_sample(x, truth, peak=4.0), expected, atol=1e-3)
    assert psnr(x, truth, 4.0) == pytest.approx(np.mean(expected), abs=1e-3)


def test_perfect_estimate_is_finite():
    assert psnr(np.ones((2, 3)), np.ones((2, 3))) == pytest.approx(120)


def test_single_precision_does_not_limit_it():
    truth = np.full((1, 4), 1000, np.float32)
    assert psnr(truth.astype(float) + 1e-3, truth) == pytest.approx(60, abs=0.01)


def test_bootstrap_of_normal_values():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, estimate, high = bootstrap(values, level=0.9)
    assert estimate == pytest.approx(values.mean())
    # 1.645 standard errors; a quantile of 2000 resamples is good to a few percent
    np.testing.assert_allclose([estimate - low, high - estimate], 1.645 * values.std() / 20, rtol=0.1)
    assert bootstrap(values) == bootstrap(values)
    with pytest.raises(ValueError, match="one value per sample"):
        bootstrap(np.ones((2, 2)))


def test_bootstrap_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = [
        low < 1 < high for low, _, high in (bootstrap(rng.exponential(size=100), 0.8, 200, seed) for seed in range(400))
    ]
    assert abs(np.mean(covered) - 0.8) < 0.02 + 4 * np.sqrt(0.8 * 0.2 / 400)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_units_do_not_matter(rng, unit):
    truth = rng.normal(size=(4, 5)).astype(np.float32)
    x = truth + 0.1 * rng.normal(size=truth.shape).astype(np.float32)
    unit = np.float32(unit)
    np.testing.assert_allclose(psnr(unit * x, unit * truth, float(unit)), psnr(x, truth), rtol=1e-5)
