r"""Subtraction of the median of an image's border, as one does for a thing in the middle of a sky.

.. math:: \hat x = \big( y - \mathrm{median}_{p \in \text{border}} \, y_p \big) / c

in every channel, over the pixels that were observed; a missing pixel becomes 0. What spreads light, such as a point
spread function, is left as it is: `c` is the amplitude alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import PositiveInt

from dichroic.baselines.base import BaselineConfig
from dichroic.baselines.kinds import Contrastive, gains
from dichroic.problem import Problem, View

__all__ = ["BorderMedian", "BorderMedianConfig"]


class BorderMedianConfig(BaselineConfig):
    """Settings of `BorderMedian`: `border`, its width in pixels."""

    border: PositiveInt = 2


class BorderMedian(Contrastive):
    """Estimates of the target of every contrast, for images. Nothing is learned but which source that is."""

    name = "border-median"
    title = "the border's median"
    Config = BorderMedianConfig
    has_posterior = False
    kinds = ("image",)

    @classmethod
    def _fit(cls, problem: Problem, config: Any, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        return {}, {"contrasts": [c.describe(problem) for c in cls.contrasts(problem)]}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        observed, width = problem.views[view], self.config.border
        border = np.ones(observed.event_shape, bool)
        border[width:-width, width:-width] = False
        y = observed.y.astype(float)
        seen = np.ones(y.shape, bool) if observed.observed is None else observed.observed
        level = np.ma.median(np.ma.array(y, mask=~(seen & border)).reshape(len(y), -1, *y.shape[3:]), axis=1)
        level = np.ma.filled(level, 0.0).reshape(len(y), 1, 1, *y.shape[3:])
        flat = np.where(seen, y - level, 0)
        by = (slice(None), *[None] * (y.ndim - 1))
        return {t: flat / gains(observed, t, self.shapes[t])[by] for t in self.estimates(problem, view)}

    def _seen(self, view: View, source: str, x: np.ndarray) -> np.ndarray:
        return x * gains(view, source, self.shapes[source])[(slice(None), *[None] * (x.ndim - 1))]  # as it was left
