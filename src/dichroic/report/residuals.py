r"""Residuals of posterior draws, and what to expect of them.

For an exact posterior draw :math:`x` of an observation with `m` values, :math:`y - A x \sim \mathcal N(0, \Sigma)`, so
that chi-square per value has mean 1 and standard deviation :math:`\sqrt{2/m}`.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.operators import take
from dichroic.problem import View
from dichroic.report.material import Separated
from dichroic.report.pictures import nan_stat

__all__ = ["ChiSquare", "as_drawn", "chi_square", "residuals"]

_SUBSET = 512  # observations, where residuals must be computed here
_BATCH = 64
_AGREES = 0.2  # of chi-square


@dataclass(frozen=True)
class ChiSquare:
    """Chi-square per value of the draws of a view. `values`, `(n, draws)`, NaN where a draw diverged; `m`, values per
    observation.
    """

    view: str
    values: np.ndarray
    m: np.ndarray | None
    diverged: float

    @property
    def per_observation(self) -> np.ndarray:
        """Mean over the draws of each observation."""
        return nan_stat("nanmean", self.values, axis=1)

    @property
    def mean(self) -> float:
        """Mean over everything."""
        return float(nan_stat("nanmean", self.per_observation))

    @property
    def error(self) -> float:
        """Standard error of the mean; draws of one observation are not independent."""
        x = self.per_observation[np.isfinite(self.per_observation)]
        spread = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
        return spread / np.sqrt(len(x)) if len(x) else float("nan")

    @property
    def width(self) -> float:
        """Standard deviation over all draws."""
        return float(nan_stat("nanstd", self.values))

    @property
    def expected_width(self) -> float:
        """The same for exact posterior draws."""
        if self.m is None or not (self.m > 0).any():
            return float("nan")
        return float(np.sqrt(np.mean(2 / self.m[self.m > 0])))

    @property
    def verdict(self) -> str:
        """The mean against the stated noise: "as stated", "larger", "smaller" or "unknown"."""
        if not np.isfinite(self.mean):
            return "unknown"
        allowed = max(0.05, 3 * self.error if np.isfinite(self.error) else 0.0)
        return "as stated" if abs(self.mean - 1) <= allowed else "larger" if self.mean > 1 else "smaller"

    def worst(self, count: int = 5) -> list[tuple[int, float, float]]:
        """The observations with the largest chi-square: index, chi-square, and its excess in expected widths."""
        x = self.per_observation
        order = np.argsort(np.where(np.isfinite(x), -x, np.inf))[:count]
        width = self.expected_width if self.m is None else np.sqrt(2 / np.maximum(self.m, 1))
        excess = (x - 1) / width
        return [(int(i), float(x[i]), float(excess[i])) for i in order if np.isfinite(x[i])]


def chi_square(separated: Separated) -> ChiSquare | None:
    """Chi-square of the draws of a view, as recorded or else computed from the observations; None without either."""
    values = separated.chi_square
    m = separated.values()
    if values is None:
        if separated.view is None:
            return None
        index = np.arange(min(_SUBSET, len(separated)))
        r = residuals(separated.view, separated.unmixed(index), index)
        assert m is not None
        m = m[index]
        total = (np.abs(r.reshape(len(r), -1)) ** 2).sum(1)
        values = (total / np.maximum(m, 1))[:, None]
        bad = separated.diverged[index]
    else:
        bad = separated.diverged
    values = np.where(bad | ~np.isfinite(values), np.nan, np.asarray(values, float))
    return ChiSquare(separated.name, values, m, float(separated.diverged.mean()) if separated.diverged.size else 0.0)


def residuals(view: View, x: dict[str, np.ndarray], index: np.ndarray) -> np.ndarray:
    """`y - A x` of some observations in units of the noise, shape `(len(index), ...)`; zero where data are missing."""
    out = []
    for begin in range(0, len(index), _BATCH):
        part = slice(begin, begin + _BATCH)
        chosen = view.select(index[part])
        draws = {s: np.asarray(a[part], np.float32) for s, a in x.items()}
        out.append(np.asarray(_residuals(chosen.observations, draws, np.arange(len(chosen)))))
    return np.concatenate(out)


def as_drawn(separated: Separated, r: np.ndarray, index: np.ndarray) -> bool:
    """Whether residuals are those of the draws as they were made: chi-square was recorded before draws were put to the
    ends of the range of their sources.
    """
    m = separated.values()
    if separated.chi_square is None or m is None:
        return True
    found = (np.abs(r.reshape(len(r), -1)) ** 2).sum(1) / np.maximum(m[index], 1)
    recorded = np.where(separated.diverged[index, 0], np.nan, separated.chi_square[index, 0])
    both = np.isfinite(found) & np.isfinite(recorded)
    return not both.any() or bool(abs(found[both].mean() / recorded[both].mean() - 1) < _AGREES)


@eqx.filter_jit
def _residuals(observations, draws, indices):
    def one(i, x):
        observation = take(observations, i)
        r = jnp.asarray(observation.y) - observation.mixture(x)
        if observation.observed is not None:
            r = jnp.where(observation.observed, r, 0)
        return observation.noise.whiten(r)

    return jax.vmap(one)(indices, draws)
