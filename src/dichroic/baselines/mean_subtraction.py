r"""Subtraction of the mean of what else is in the mixture, and nothing more.

.. math:: m = \arg\min \overline{\| y_j - \textstyle\sum_r B_{jr} m_r \|^2}^{\text{background}} , \qquad
    \hat x_i = A_i^+ \Big( y_i - \sum_r A_{ir} m_r \Big) ,

over the observed entries, all of them counting alike: what is done by hand with a few averages. The pseudo-inverse
undoes amplitudes, masks and coarser pixels; where it undoes a blur it raises the noise, and nothing restrains it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dichroic.baselines.kinds import Contrastive
from dichroic.baselines.least_squares import least_squares, least_squares_means
from dichroic.problem import Problem, View
from dichroic.problem.noise import bind_noise

__all__ = ["MeanSubtraction"]


class MeanSubtraction(Contrastive):
    """Estimates of the target of every contrast, for data of any kind; other sources are not modelled."""

    name = "mean-subtraction"
    title = "mean subtraction"
    has_posterior = False

    @classmethod
    def _fit(cls, problem: Problem, config: Any, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        arrays, record = {}, []
        for contrast in cls.contrasts(problem):
            background = problem.views[contrast.background]
            shapes = {s: problem.sources[s].real_shape for s in background.mixing}
            means = least_squares_means([(_alike(background), 1.0)], shapes)
            arrays |= {f"{contrast.target}/{s}": m for s, m in means.items()}
            record.append(contrast.describe(problem))
        return arrays, {"contrasts": record}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        observed = _alike(problem.views[view])
        return {
            t: least_squares(
                observed,
                t,
                self.shapes[t],
                {s: m for s in self.shapes if (m := self.arrays.get(f"{t}/{s}")) is not None},
            )
            for t in self.estimates(problem, view)
        }


def _alike(view: View) -> View:
    """The view with all observed entries counting alike."""
    return replace(view, noise=bind_noise(1.0, view.observed), truth={})
