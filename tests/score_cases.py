"""Laws whose scores are known, for the tests of score estimation (the data of `benchmarks/scores.py`, too)."""

import numpy as np


class Law:
    """Samples of a mixture of Gaussians with diagonal covariances, and its score."""

    def __init__(self, means, variances):
        self.means, self.variances = np.atleast_2d(means), np.atleast_2d(variances)

    def sample(self, n, rng):
        kind = rng.integers(len(self.means), size=n)
        return self.means[kind] + rng.normal(size=(n, self.means.shape[1])) * np.sqrt(self.variances[kind])

    def score(self, x):
        r = x[:, None] - self.means
        log = -0.5 * np.sum(r**2 / self.variances + np.log(self.variances), axis=2)
        weight = np.exp(log - log.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        return -np.einsum("nk,nkd->nd", weight, r / self.variances)


def isotropic(d):
    return Law(np.zeros(d), np.ones(d))


def stretched(d):
    return Law(np.zeros(d), np.linspace(0.25, 2, d))


def four_modes(d):
    means = np.random.default_rng(7).normal(size=(4, d))
    means *= 2.5 / np.linalg.norm(means, axis=1, keepdims=True)
    return Law(means, np.ones((4, d)))
