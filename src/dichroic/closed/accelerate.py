r"""EM in fewer laps: quasi-Newton steps from what the last laps have shown, and never downhill.

A lap :math:`\theta \mapsto M(\theta)` of EM moves by :math:`f(\theta) = M(\theta) - \theta`, which is zero where the
likelihood is highest. With the differences :math:`\Delta F, \Delta M` of the last laps as columns, the secant step

.. math:: \theta' = M(\theta) - \Delta M\, \gamma, \qquad
    \gamma = \arg\min_\gamma \lVert f(\theta) - \Delta F\, \gamma \rVert^2 + \lambda \lVert \Delta F \rVert^2
    \lVert \gamma \rVert^2

goes where they would take many more (Anderson acceleration: Henderson and Varadhan 2019, J. Comput. Graph. Stat. 28,
834; Zhou, Alexander and Lange 2011, Stat. Comput. 21, 261). Where the objective, the log-likelihood with the log-prior
of the ties, is lower at :math:`\theta'` than at :math:`\theta`, the plain lap is made in its place: EM's own ascent is
kept, for the price of one E-step.

Steps are made in coordinates in which no covariance can become indefinite and no unit is left
(`dichroic.closed.charts`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from dichroic import memory
from dichroic.algebra import Components
from dichroic.closed.charts import Chart
from dichroic.closed.family import Family

__all__ = ["Ascent", "Lap", "still_to_gain"]

MEMORY = 10  # laps that a step looks back on
_ENTRIES = 1 << 26  # numbers that are remembered at most: half a gibibyte
_DAMPING = 1e-6  # lambda of the formula, per direction
_ROUNDING = 1e-12  # of a log-likelihood: what rounding changes it by
_WINDOW = 3  # laps whose gains are compared with those of as many before

Point = Mapping[str, Components]


@dataclass(frozen=True)
class Lap:
    """What an E-step and M-step found out.

    **Fields:** `value`, the log-likelihood at the point that the lap started from; `after`, where EM goes from there;
    `log_prior`, the log-density of the prior that this M-step took into account, at any point.
    """

    value: float
    after: Point
    log_prior: Callable[[Point], float]


class Ascent:
    """Says where the next E-step is to be made (`ask`), and is told what it found (`tell`).

    `families` are those of the sources, which no step leaves. `reached` is the end of the best lap; `point`, where it
    began, and `value`, the log-likelihood there.
    """

    def __init__(self, start: Point, families: Mapping[str, Family]):
        self.families = families
        self.ask: Point = start
        self.point: Point = start
        self.value = -np.inf
        self.gains: list[float] = []
        self.variances: list[np.ndarray] = []
        self.lap: Lap | None = None
        self.plain = True
        self.charts: dict[str, Chart] = {}
        self.sizes: list[int] = []  # coordinates of every source
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []  # point and end of the last laps

    @property
    def reached(self) -> Point:
        """The end of the best lap."""
        return self.point if self.lap is None else self.lap.after

    def tell(self, lap: Lap) -> bool:
        """Takes the lap from `ask`, and whether it is kept; a plain one always is."""
        point, best = self.ask, self.lap
        if best is not None:
            gain = lap.value + best.log_prior(point) - self.value - best.log_prior(self.point)
            if not self.plain and not gain >= -_ROUNDING * abs(self.value):
                self.ask, self.plain = best.after, True
                self.gains.append(0.0)
                self.variances.append(self.variances[-1])
                self._forget()
                return False
            self.gains.append(gain)
        self.point, self.value, self.lap = point, lap.value, lap
        diagonals = [np.diagonal(x.covariances, axis1=1, axis2=2).ravel() for x in point.values()]
        self.variances = [*self.variances[-_WINDOW:], np.concatenate([np.zeros(0), *diagonals])]
        self._remember(point, lap.after)
        step = self._step()
        self.ask, self.plain = (lap.after, True) if step is None else (step, False)
        return True

    def remaining(self) -> float:
        """Log-likelihood (with the log-prior) that is still to gain."""
        return still_to_gain(self.gains, _ROUNDING * abs(self.value))

    def change(self) -> float:
        """By what part of itself a variance will still change at most; distances shrink as the roots of gains do."""
        if len(self.gains) < 2 * _WINDOW:
            return np.inf
        last, before = sum(self.gains[-_WINDOW:]), sum(self.gains[-2 * _WINDOW : -_WINDOW])
        then, now = self.variances[-1 - _WINDOW], self.variances[-1]
        moved = np.abs(np.divide(now, then, out=np.ones_like(now), where=then > 0) - 1).max(initial=0)
        rate = np.sqrt(max(last, 0) / before) if before > 0 else 0.0
        return float(moved * max(rate, 0.5) / (1 - max(rate, 0.5))) if rate < 1 else np.inf

    def _forget(self) -> None:
        self.charts, self.steps = {}, []
        if self.lap is not None:
            self._remember(self.point, self.lap.after)

    def _remember(self, point: Point, after: Point) -> None:
        if not point:
            return
        try:
            self.charts = self.charts or {s: self.families[s].chart(x) for s, x in point.items()}
            parts = [[chart.vector(at[s]) for s, chart in self.charts.items()] for at in (point, after)]
            self.sizes = [len(part) for part in parts[0]]
            self.steps.append((np.concatenate(parts[0]), np.concatenate(parts[1])))
        except np.linalg.LinAlgError:  # a covariance without full rank: plain laps keep it as it is
            self.charts, self.steps = {}, []
            return
        most = min(MEMORY, memory.entries(_ENTRIES) // (2 * len(self.steps[0][0])))
        self.steps = self.steps[-max(most, 1) :]

    def _step(self) -> Point | None:
        if len(self.steps) < 2:
            return None
        points, ends = (np.stack(part) for part in zip(*self.steps, strict=True))
        f = ends - points
        dF, dM = np.diff(f, axis=0), np.diff(ends, axis=0)
        normal = dF @ dF.T
        normal[np.diag_indices(len(normal))] += _DAMPING * max(np.trace(normal) / len(normal), np.finfo(float).tiny)
        step = ends[-1] - scipy.linalg.solve(normal, dF @ f[-1], assume_a="pos") @ dM
        parts = np.split(step, np.cumsum(self.sizes)[:-1])
        found = {s: chart.point(part) for (s, chart), part in zip(self.charts.items(), parts, strict=True)}
        found = {s: self.families[s].nearest(x) for s, x in found.items()}
        return found if all(np.isfinite(x.covariances).all() for x in found.values()) else None


def still_to_gain(gains: "list[float]", rounding: float = 0.0) -> float:
    r"""What a series of gains still adds up to, by Aitken's rule.

    With :math:`g` the sum of the last gains, :math:`g'` that of as many before, and :math:`r = g / g'`, it is
    :math:`g\, r / (1 - r)`, infinite where gains do not fall or are too few; gains within `rounding` are none.
    """
    if len(gains) < 2 * _WINDOW:
        return np.inf
    last, before = sum(gains[-_WINDOW:]), sum(gains[-2 * _WINDOW : -_WINDOW])
    if last <= rounding:
        return rounding
    return last**2 / (before - last) if before > last else np.inf
