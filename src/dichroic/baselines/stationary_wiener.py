r"""The stationary Wiener filter from average spectra: three lines of numpy, and hard to beat on noise and music.

With the power spectra about the means, of the mixture :math:`P_y` and of the view that shows the rest alone
:math:`P_b`, and the amplitudes `c` of the target and `b` of the rest,

.. math:: \hat S = \max\big(P_y - b^2 P_b, 0\big) / c^2 , \qquad
    \hat x = \hat m + \mathcal F^{-1} \frac{c\, \hat S}{c^2 \hat S + b^2 P_b} \mathcal F (y - c\, \hat m - b\, m_b) .

The transform runs along the axis of a series, or over both axes of an image, each channel by itself, as if its ends
met. The spectrum of the rest holds the noise. Missing entries count as being at the mean; spectra are divided by the
share of what was observed. What spreads light is left as it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dichroic.baselines.contrast import Contrast, matching
from dichroic.baselines.kinds import Contrastive, gains, kind_of, moments
from dichroic.problem import Problem, View

__all__ = ["StationaryWiener"]


class StationaryWiener(Contrastive):
    """Estimates of the target of every contrast, for images and series; other sources are not estimated."""

    name = "stationary-wiener"
    title = "the stationary Wiener filter"
    has_posterior = False
    kinds = ("image", "series")

    @classmethod
    def _fit(cls, problem: Problem, config: Any, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        arrays, record = {}, []
        for contrast in cls.contrasts(problem):
            mixture, background = problem.views[contrast.mixture], problem.views[contrast.background]
            axes = [1, 2] if kind_of(background) == "image" else [1]
            c, b = _amplitudes(problem, mixture, contrast)
            own = gains(background, beside := next(iter(background.mixing)), problem.sources[beside].real_shape)
            rest, target = (moments(view)[0] for view in (background, mixture))
            if axes == [1]:  # a series that is the same everywhere has one mean
                rest, target = np.full_like(rest, rest.mean()), np.full_like(target, target.mean())
            rest = rest / own.mean()
            target = (target - b.mean() * rest) / c.mean()
            by = _by(mixture)
            P_b = _power(background, own[by] * rest, axes) / (own**2).mean()
            P_y = _power(mixture, c[by] * target + b[by] * rest, axes)
            S = np.maximum(P_y - (b**2).mean() * P_b, 0) / (c**2).mean()
            t = contrast.target
            arrays |= {f"{t}/mean": target, f"{t}/rest": rest, f"{t}/spectrum": S, f"{t}/rest_spectrum": P_b}
            record.append({**contrast.describe(problem), "axes": axes, "beside": beside})
        return arrays, {"contrasts": record}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        observed, found = problem.views[view], {}
        by = _by(observed)
        for contrast in matching(self.record["contrasts"], problem, view):
            t, axes = contrast["target"], contrast["axes"]
            mean, rest, S, P_b = (self.arrays[f"{t}/{part}"] for part in ("mean", "rest", "spectrum", "rest_spectrum"))
            c = gains(observed, t, self.shapes[t])[by]
            b = gains(observed, contrast["beside"], self.shapes[contrast["beside"]])[by]
            power = c**2 * S + b**2 * P_b
            filtered = np.divide(c * S, power, out=np.zeros_like(power), where=power > 0)
            lines = np.fft.rfftn(_about(observed, c * mean + b * rest), axes=axes)
            sizes = [observed.y.shape[axis] for axis in axes]
            found[t] = mean + np.fft.irfftn(filtered * lines, s=sizes, axes=axes)
        return found

    def _seen(self, view: View, source: str, x: np.ndarray) -> np.ndarray:
        return x * gains(view, source, self.shapes[source])[(slice(None), *[None] * (x.ndim - 1))]  # as it was left


def _amplitudes(problem: Problem, view: View, contrast: Contrast) -> tuple[np.ndarray, np.ndarray]:
    """Of the target, and of the first of the other sources, in every observation of the mixture."""
    beside = next(iter(problem.views[contrast.background].mixing))
    found = [gains(view, s, problem.sources[s].real_shape) for s in (contrast.target, beside)]
    return found[0], found[1]


def _by(view: View) -> tuple[Any, ...]:
    return (slice(None), *[None] * len(view.event_shape))


def _about(view: View, mean: np.ndarray) -> np.ndarray:
    return np.where(True if view.observed is None else view.observed, view.y - mean, 0)


def _power(view: View, mean: np.ndarray, axes: list[int]) -> np.ndarray:
    """The average power spectrum about a mean."""
    share = 1.0 if view.observed is None else max(float(view.observed.mean()), 1e-9)
    return (np.abs(np.fft.rfftn(_about(view, mean), axes=axes)) ** 2).mean(0) / share
