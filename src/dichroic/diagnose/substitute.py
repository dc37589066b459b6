"""May a fast sampler stand in for a slow one? Only where it is as well calibrated.

Both are asked the same questions: ranks of simulated truths (`sbc`), coverage of all sources together (`tarp`) and
residuals of real observations (`chi_square`). A question fails where the fast sampler's answer is not that of an exact
one, chance being ruled out, and it is farther off than the slow one's by more than a margin. The levels of the panel
will not do: they are for faults that matter to a reader, and a posterior that is a tenth too narrow, lap after lap,
takes a prior with it (`docs/howto/one_step.md`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.diagnose.case import Budget
from dichroic.diagnose.model import Model
from dichroic.diagnose.panel import run_panel
from dichroic.diagnose.result import ALARMS, Question, Result
from dichroic.problem import Problem

__all__ = ["Failure", "may_stand_in"]

_CHECKS = ("sbc", "tarp", "chi_square")
_MARGIN = 0.05  # in units of a score's standard deviation, and of chi-square per value
_BUDGET = Budget(sbc=(2048, 63))  # a spread that is a tenth off is seven standard errors off


@dataclass(frozen=True)
class Failure:
    """A question that a fast sampler fails: what it answers, and what the slow one did."""

    check: str
    fast: Question
    slow: Question | None

    @property
    def sentence(self) -> str:
        """In words."""
        other = "" if self.slow is None else f", the slow sampler {self.slow.value:.3g}"
        asked = f"{self.check}, {self.fast.where}: {self.fast.what}"
        return f"{asked} {self.fast.value:.3g}, expected {self.fast.expected:.3g}{other}"


def may_stand_in(
    fast: Model,
    slow: Model,
    problem: Problem,
    *,
    key: PRNGKeyArray,
    budget: Budget = _BUDGET,
    report: Callable[[str, float], None] | None = None,
) -> list[Failure]:
    """The questions that the fast sampler fails and the slow one does not; where there are none it may stand in.

    **Arguments:** `problem`, held-out observations; `budget`, of each of the two.
    """
    simulated = _enough(problem, budget.sbc[0])

    def answers(model: Model, checks: Iterable[str]) -> dict[str, Result]:
        found = {}
        for about, some in ((simulated, ("sbc", "tarp")), (problem, ("chi_square",))):
            if asked := [check for check in some if check in checks]:
                found |= run_panel(about, model, key=key, budget=budget, checks=asked, report=report)
        return found

    wrong = [
        (check, question)
        for check, result in answers(fast, _CHECKS).items()
        for question in result.parts
        if question.p < ALARMS / (len(_CHECKS) * len(result.parts)) and not abs(question.effect) <= _MARGIN
    ]
    # most of the work is the slow sampler's, which is asked for nothing but an excuse
    excuses = answers(slow, {check for check, _ in wrong})
    failures = []
    for check, question in wrong:
        same = (q for q in excuses[check].parts if (q.where, q.what) == (question.where, question.what))
        slower = next(same, None)
        # the negation, for an answer that is not a number is no pass
        if not abs(question.effect) <= (abs(slower.effect) if slower else 0.0) + _MARGIN:
            failures.append(Failure(check, question, slower))
    return sorted(failures, key=lambda failure: failure.fast.p)


def _enough(problem: Problem, total: int) -> Problem:
    """With the operators and the noise of its observations as often as it takes: few of them would see little."""
    each = -(-total // len(problem.views))
    views = {
        name: view if len(view) >= each else view.select(np.resize(np.arange(len(view)), each))
        for name, view in problem.views.items()
    }
    return replace(problem, views=views)
