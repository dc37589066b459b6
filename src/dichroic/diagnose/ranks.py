r"""From ranks and samples to p-values.

A truth ranked among `L` draws of the same law has a uniform rank. With ties broken at random,

.. math:: u = \frac{\#\{x_l < x\} + U (1 + \#\{x_l = x\})}{L + 1}, \quad U \sim \mathcal U(0, 1), \qquad
    s = \Phi^{-1}(u) ,

`u` is exactly uniform and the score `s` exactly normal (Talts et al. 2018, arXiv 1804.06788, for the ranks). Draws that
are too narrow give scores with a variance above 1, draws that are too wide below 1, biased draws a mean that is not 0.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["RankCounter", "chi_square_test", "gamma_test", "mean_test", "normal_scores", "score_tests"]


class RankCounter:
    """Counts, draw by draw, how many draws are below the truth, so that no draw has to be kept."""

    def __init__(self, truth: np.ndarray):
        self.truth, self.draws = np.asarray(truth, float), 0
        self.below = np.zeros(self.truth.shape, np.int64)
        self.equal = np.zeros(self.truth.shape, np.int64)
        self.usable = np.isfinite(self.truth)

    def add(self, x: np.ndarray) -> None:
        """One draw of each; where it is not finite, the truth it belongs to is not ranked at all."""
        self.usable &= np.isfinite(x)
        self.below += x < self.truth
        self.equal += x == self.truth
        self.draws += 1

    def uniform(self, rng: np.random.Generator) -> np.ndarray:
        """The ranks as numbers in (0, 1), NaN where there is none; shape of the truth."""
        u = (self.below + rng.random(self.truth.shape) * (1 + self.equal)) / (self.draws + 1)
        return np.where(self.usable, np.clip(u, 1e-12, 1 - 1e-12), np.nan)


def normal_scores(u: np.ndarray) -> np.ndarray:
    """Uniform numbers as normal ones."""
    from scipy import stats

    return np.asarray(stats.norm.ppf(u))


def chi_square_test(x: float, degrees: float) -> float:
    """The two-sided p-value of a chi-square variable."""
    from scipy import stats

    lower, upper = float(stats.chi2.cdf(x, degrees)), float(stats.chi2.sf(x, degrees))
    return min(1.0, 2 * min(lower, upper))


def score_tests(s: Float[np.ndarray, " n"]) -> dict[str, tuple[float, float]]:
    """Are independent scores standard normal? `{name: (value, p)}`.

    `bias`, their mean, normal; `spread`, their root mean square, chi-square; `shape`, the largest distance of their
    distribution function from the normal one (Kolmogorov). The first two p-values are exact.
    """
    from scipy import stats

    s = s[np.isfinite(s)]
    n = len(s)
    if n < 8:
        nan = float("nan")
        return {"bias": (nan, 1.0), "spread": (nan, 1.0), "shape": (nan, 1.0)}
    z, total = np.sqrt(n) * s.mean(), float((s**2).sum())
    ks = stats.kstest(s, "norm")
    return {
        "bias": (float(s.mean()), float(2 * stats.norm.sf(abs(z)))),
        "spread": (float(np.sqrt(total / n)), chi_square_test(total, float(n))),
        "shape": (float(ks.statistic), float(ks.pvalue)),  # pyright: ignore
    }


def mean_test(d: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Is the mean of independent numbers zero? The mean and the p-value of Student's test."""
    from scipy import stats

    d = d[np.isfinite(d)]
    if len(d) < 8 or d.std() == 0:
        return float(d.mean()) if len(d) else float("nan"), 1.0
    t = d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()), float(2 * stats.t.sf(abs(t), len(d) - 1))


def gamma_test(w: Float[np.ndarray, " n"]) -> tuple[float, float]:
    r"""Is the mean of independent positive numbers one? The mean and a p-value.

    Each is itself a mean of squared scores that depend on each other in an unknown way. Their sum is compared with the
    gamma law of the same relative variance (Satterthwaite 1946), which is exact for independent squares, where
    Student's test is not: squares are skewed.
    """
    w = w[np.isfinite(w)]
    n = len(w)
    if n < 8:
        return float("nan"), 1.0
    mean = float(w.mean())
    degrees = 2 * n / max(float(w.var(ddof=1)) / mean**2, 1e-12)
    x = degrees * mean
    return mean, chi_square_test(x, degrees)
