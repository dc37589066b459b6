"""What a fit says of itself without a truth: how well a classifier tells the data from what its priors make.

The law of the mixtures (`dichroic.diagnose.law`), asked of held-out observations: an area under a curve for every view,
one half where nothing can be told. That of the first draws is that of the closed-form stages, so that whatever is
learned has it beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.diagnose import Budget, LearnedModel, run_panel
from dichroic.diagnose.law import LEAST
from dichroic.diffusion import Prior
from dichroic.problem import Problem

__all__ = ["SIMULATIONS", "Judged", "judged", "law_of", "used"]

_Record = TypeVar("_Record", bound=Mapping[str, Any])

SIMULATIONS = 3  # of every observation; the first one says what units are
_TOLERANCE = 0.03  # of an area: less is not worth a word
_CERTAIN = 2.0  # standard errors


def law_of(
    held_out: Problem, priors: Mapping[str, Prior], key: PRNGKeyArray, report: Callable[[float], None] | None = None
) -> dict[str, list[float]]:
    """For every view the area under the curve and its standard error; without views that have too few observations."""
    most = max(len(view) for view in held_out.views.values())
    if most < LEAST:
        return {}
    total = most * len(held_out.views)
    budget = Budget(law=(total, SIMULATIONS - 1))
    tell = report and (lambda _, part: report(part))
    panel = run_panel(held_out, LearnedModel(priors), key=key, budget=budget, checks=["law"], report=tell)
    found = panel["law"]
    areas = {part.where: part.value for part in found.parts if part.what == "AUC"}
    errors = {v: float(np.ptp(found.arrays[f"{v}/auc"])) / (2 * 1.96) for v in areas}
    return {v: [area, errors[v]] for v, area in areas.items()}


@dataclass(frozen=True)
class Judged:
    """The area under the curve of a view, with its standard error, and that of the closed-form stages' priors."""

    view: str
    area: float
    error: float
    first: float
    first_error: float

    @property
    def told(self) -> bool:
        """Whether the data can be told from what the priors make, beyond doubt."""
        return self.area - _CERTAIN * self.error > 0.5 and self.area > 0.5 + _TOLERANCE

    @property
    def worse(self) -> bool:
        """Whether those of the closed form can be told less well, beyond doubt."""
        more = self.area - self.first
        return more > _TOLERANCE and more > _CERTAIN * float(np.hypot(self.error, self.first_error))

    @property
    def reading(self) -> str:
        """What to read from it, in a few words."""
        if self.worse:
            return "worse than the closed form"
        if not self.told:
            return "not told apart"
        less = self.first - self.area > _CERTAIN * float(np.hypot(self.error, self.first_error))
        return "told apart, but less than with the closed form" if less else "told apart"

    @property
    def sentence(self) -> str:
        """What is to be said of it, empty where nothing is."""
        numbers = f"AUC {self.area:.2f} ± {self.error:.2f}, with 0.50 for equal laws"
        if self.worse:
            return (
                f"View “{self.view}”: what these priors simulate is told from held-out observations more easily than "
                f"what the closed-form stages' priors simulate ({numbers}; {self.first:.2f} before). Use fewer laps, "
                "or find out why: more observations, another network, a better posterior method."
            )
        if self.told:
            return (
                f"View “{self.view}”: a classifier tells held-out observations from those that these priors simulate "
                f"({numbers}; {self.first:.2f} with the closed-form stages' priors). The priors are not the sources' "
                "laws yet, however well residuals agree: look at their draws; try more laps, or a larger network."
            )
        return ""


def judged(records: Sequence[Mapping[str, Any]]) -> list[Judged]:
    """What the records of a fit say of the priors that are used in the end, view by view."""
    if not records:
        return []
    found, first = (record.get("law", {}) for record in (used(records), records[0]))
    return [Judged(v, *found[v], *first[v]) for v in found if v in first]


def used(records: Sequence[_Record]) -> _Record:
    """The record of the lap whose priors are used in the end."""
    last = records[-1]
    wanted = last.get("stage"), last.get("best_lap")
    return next((r for r in records if (r.get("stage"), r.get("lap")) == wanted), last)
