"""What one would do by hand: the answers that anything learned has to beat, chosen by the kind of data."""

from dataclasses import replace

import numpy as np

from dichroic.baselines.base import Baseline
from dichroic.baselines.border_median import BorderMedian
from dichroic.baselines.contrast import find_contrasts
from dichroic.baselines.kinds import gains, kind_of
from dichroic.baselines.least_squares import least_squares
from dichroic.baselines.mean_subtraction import MeanSubtraction
from dichroic.baselines.stationary_wiener import StationaryWiener
from dichroic.problem import Problem, ProblemError

__all__ = ["simple_answers"]

_PROBED = 32  # observations
_RAISED = 2.0  # times what the amplitude alone makes of noise, above which nobody would undo an operator by hand


def simple_answers(problem: Problem) -> dict[str, type[Baseline]]:
    """The simple answers that suit a problem, by name: the mean of the rest for data of any kind, the border's median
    for images, the stationary Wiener filter for images and series. None where no view shows the rest alone; blurred
    images are not sharpened by hand, thus the mean of the rest is no answer there.
    """
    return {cls.name: cls for cls in (MeanSubtraction, BorderMedian, StationaryWiener) if _suits(cls, problem)}


def _suits(cls: type[Baseline], problem: Problem) -> bool:
    try:
        cls.applicable(problem)
    except ProblemError:
        return False
    return cls is not MeanSubtraction or not _raises_noise(problem)


def _raises_noise(problem: Problem) -> bool:
    """Whether undoing the operators of images makes far more of the noise than their amplitudes do."""
    rng, raised = np.random.default_rng(0), []
    for contrast in find_contrasts(problem):
        view, shape = problem.views[contrast.mixture], problem.sources[contrast.target].real_shape
        if kind_of(view) == "image" and view.event_shape == shape and not np.iscomplexobj(view.y):
            some = view.select(np.arange(min(_PROBED, len(view))))
            noise = replace(some, y=rng.normal(size=some.y.shape).astype(np.float32), observed=None)
            undone = least_squares(noise, contrast.target, shape) * np.abs(gains(some, contrast.target, shape)).mean()
            raised.append(undone.std())
    return bool(raised) and float(min(raised)) > _RAISED
