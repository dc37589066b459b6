r"""Posterior means from draws, and what is left of their Monte-Carlo error.

The mean :math:`\bar x` of `n` draws of an observation, whose variances add up to `V`, is off by :math:`V / n` on
average of squares. Where priors that stand in for those of the draws have a closed form, with the posterior mean `m`,

.. math:: \hat x = m + w\, (\bar x - m), \qquad w = \max\Big(0,\; 1 - \frac{d - 2}{d}\,
    \frac{V / n}{|\bar x - m|^2}\Big)

is off by about :math:`w V / n`: less the nearer the two are, and hardly more than :math:`\bar x` where they are not
(James and Stein 1961; every observation by itself). The posterior's own variance being `V`, the Monte-Carlo share of
the squared error of a mean is :math:`\sum w V / n \big/ \sum (V + w V / n)`, the sums over observations.
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
from jaxtyping import Float

from dichroic.posterior import Draws

__all__ = ["MeanOfDraws"]


class MeanOfDraws:
    """The means of all sources of a view, from one round of draws after the other; `closed`, `m` where there is one."""

    def __init__(self, closed: Mapping[str, np.ndarray] | None = None):
        self.closed = closed or {}
        self.count: Float[np.ndarray, " n"] = np.zeros(0)
        self.sums: dict[str, Float[np.ndarray, "n ..."]] = {}
        self.squares: dict[str, Float[np.ndarray, " n"]] = {}

    def add(self, drawn: Draws) -> None:
        """One draw of every observation; those that diverged do not count (Welford 1962)."""
        usable = ~drawn.diverged
        if not self.sums:
            self.count = np.zeros(len(usable))
            self.sums = {s: np.zeros_like(x) for s, x in drawn.samples.items()}
            self.squares = {s: np.zeros(len(usable)) for s in drawn.samples}
        self.count = self.count + usable
        for s, x in drawn.samples.items():
            mean, at = self.sums[s], (slice(None), *[None] * (x.ndim - 1))
            step = np.where(usable[at], x - mean, 0)
            mean += step / np.maximum(self.count, 1)[at].astype(mean.dtype)
            rest = np.where(usable[at], x - mean, 0)
            self.squares[s] += _products(step, rest)

    def mean(self, source: str) -> Float[np.ndarray, "n ..."]:
        """The estimate of every observation, NaN where no draw is usable."""
        x, at = self.sums[source], (slice(None), *[None] * (self.sums[source].ndim - 1))
        if source in self.closed:
            m = self.closed[source]
            x = (m + self._weight(source)[at] * (x - m)).astype(x.dtype)
        return np.where((self.count > 0)[at], x, np.nan)

    def share(self, source: str) -> float:
        """The Monte-Carlo share of the squared error; one half of a single draw, of which nothing else is known."""
        V = self._variance(source)
        if not V.sum() > 0:
            return 1 / (1 + max(float(self.count.max(initial=1)), 1.0)) if (self.count < 2).all() else 0.0
        error = self._weight(source) * V / np.maximum(self.count, 1)
        return float(error.sum() / (V + error).sum())

    def missing(self, share: float, most: int) -> int:
        """Draws of every observation, up to `most` in all, after which the share of no source is larger than asked."""
        found, n = max(map(self.share, self.sums), default=0.0), int(self.count.max(initial=0))
        if found <= share:
            return 0
        return min(most, ceil(n * found / (1 - found) * (1 - share) / max(share, 1e-9))) - n if n < most else 0

    def _variance(self, source: str) -> Float[np.ndarray, " n"]:
        return self.squares[source] / np.maximum(self.count - 1, 1)

    def _weight(self, source: str) -> Float[np.ndarray, " n"]:
        x = self.sums[source]
        d = x[0].size if len(x) else 0
        if source not in self.closed or d <= 2:
            return np.ones(len(x))
        away = x - self.closed[source]
        distance = _products(away, away)
        error = (d - 2) / d * self._variance(source) / np.maximum(self.count, 1)
        return np.where(self.count > 1, np.maximum(0, 1 - error / np.maximum(distance, 1e-300)), 1.0)


def _products(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " n"]:
    """Of every row, in double precision: single does not hold the squares of large units."""
    return np.einsum("ni,ni->n", a.reshape(len(a), -1), b.reshape(len(b), -1), dtype=float)
