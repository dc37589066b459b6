"""Fréchet distance against closed forms and other implementations, and the features it is meant for."""

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from dichroic.metrics import DigitFeatures, frechet_distance
from oracles import random_covariance


def exactly(rng, n: int, mean: np.ndarray, S: np.ndarray) -> np.ndarray:
    """A sample whose mean and covariance are these to rounding."""
    z = rng.normal(size=(n, len(S)))
    z = z - z.mean(0)
    white = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T
    return mean + white @ np.linalg.cholesky(S).T


def test_two_gaussians(rng):
    # axes in common: the roots subtract
    a, b, shift = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.25]), np.array([1.0, 0.0, -2.0])
    x, y = exactly(rng, 50, np.zeros(3), np.diag(a)), exactly(rng, 70, shift, np.diag(b))
    assert frechet_distance(x, y) == pytest.approx(5 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())
    assert frechet_distance(x, y, mean_only=True) == pytest.approx(5)


def test_correlated_gaussians_agree_with_other_implementations(rng):
    S, T, shift = random_covariance(rng, 5), 2 * random_covariance(rng, 5), rng.normal(size=5)
    x, y = exactly(rng, 40, np.zeros(5), S), exactly(rng, 60, shift, T)
    expected = shift @ shift + np.trace(S + T - 2 * sqrtm(S @ T).real)
    assert frechet_distance(x, y) == pytest.approx(expected)
    assert frechet_distance(x, y) == pytest.approx(ot.gaussian.bures_wasserstein_distance(0 * shift, shift, S, T) ** 2)


def test_fewer_samples_than_features(rng):
    x = rng.normal(size=(5, 20))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    # a rotation within the five dimensions that the sample fills
    assert frechet_distance(x, x + 1) == pytest.approx(20)


class TestDigitFeatures:
    @pytest.fixture(scope="class")
    def digits(self):
        found = load_digits()
        order = np.random.default_rng(0).permutation(len(found.target))  # the file is sorted by writer
        return found.images[order, ..., None] / 16, found.target[order]

    @pytest.fixture(scope="class")
    def features(self, digits):
        images, labels = digits
        return DigitFeatures.train(images[:1000], labels[:1000], features=16, epochs=15)

    def test_it_knows_digits(self, digits, features):
        images, labels = digits
        assert features.accuracy(images[1000:], labels[1000:]) > 0.85
        assert features(images[:7]).shape == (7, 16)

    def test_features_are_what_the_last_layer_reads(self, digits, features):
        images, _ = digits
        scores = (
            np.maximum(features(images[:9]), 0) @ features.classifier.coefs_[-1] + features.classifier.intercepts_[-1]
        )
        expected = features.classifier.predict_log_proba(images[:9].reshape(9, -1) / features.scale)
        scores = scores - scores.max(1, keepdims=True)
        np.testing.assert_allclose(scores - np.log(np.exp(scores).sum(1, keepdims=True)), expected, atol=1e-8)

    def test_distance_of_digits(self, digits, features):
        images, labels = digits
        first, second = images[1000:1400], images[1397:]
        null = frechet_distance(features(first), features(second))
        noisy = frechet_distance(
            features(first), features(second + 0.3 * np.random.default_rng(0).normal(size=(400, 8, 8, 1)))
        )
        few = frechet_distance(features(first), features(images[1000:][labels[1000:] < 5]))
        assert null < 0.3 * min(noisy, few)

    def test_the_same_seed_is_the_same_classifier(self, digits, features):
        images, labels = digits
        again = DigitFeatures.train(images[:1000], labels[:1000], features=16, epochs=15)
        np.testing.assert_array_equal(again(images[:3]), features(images[:3]))

    def test_faults(self, digits, features):
        images, labels = digits
        with pytest.raises(ValueError, match=r"shape \(n, 8, 8, 1\), got \(5, 64\)"):
            features(images[:5].reshape(5, 64))
        with pytest.raises(ValueError, match="at least two classes, got"):
            DigitFeatures.train(images[:5], np.ones(5))
        with pytest.raises(ValueError, match=r"got \(5, 8, 8, 1\) and \(4,\)"):
            DigitFeatures.train(images[:5], labels[:4])
