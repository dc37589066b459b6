"""All checks, one after the other; each result is kept as it is made, so that a killed panel goes on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import jax
from jaxtyping import PRNGKeyArray

from dichroic.design.finding import Finding
from dichroic.diagnose.case import Budget, Case, Report
from dichroic.diagnose.chi_square import chi_square
from dichroic.diagnose.fission import fission
from dichroic.diagnose.gap import gap
from dichroic.diagnose.law import law
from dichroic.diagnose.leakage import leakage
from dichroic.diagnose.maps import maps
from dichroic.diagnose.model import Model
from dichroic.diagnose.replay import replay
from dichroic.diagnose.result import Result, load_result, save_result
from dichroic.diagnose.simulation import sbc, tarp
from dichroic.diagnose.stein import stein
from dichroic.hosts import by_first, told
from dichroic.problem import Problem

__all__ = ["CHECKS", "Check", "default_checks", "few_observations", "load_panel", "run_panel"]

Function = Callable[[Case, Report], Result]


@dataclass(frozen=True)
class Check:
    """A check: its function, the question it answers in plain words, its share of the work, whether it judges, and
    whether it is made without being asked for.
    """

    function: Function
    question: str
    work: float
    judges: bool = True
    default: bool = True


# every check after a fit, in the order in which they are made; the tests run each on sound and on faulty results
CHECKS: dict[str, Check] = {
    "replay": Check(replay, "do the learned sources make data like the real ones?", 1.0),
    "chi_square": Check(chi_square, "do the separated sources leave exactly the noise?", 2.0),
    "law": Check(law, "can a classifier tell the data from what the learned sources make?", 2.0),
    "gap": Check(gap, "do the separated sources look like what was learned?", 1.0),
    "fission": Check(fission, "is one half of the data predicted by the other half with the right certainty?", 8.0),
    "sbc": Check(sbc, "does the sampler find simulated truths as often as it says?", 8.0),
    "tarp": Check(tarp, "the same for all sources together", 0.1),
    "leakage": Check(leakage, "does an injected source come back where it was put?", 6.0),
    "stein": Check(stein, "have draws of real observations the score of their posterior?", 2.0, default=False),
    "maps": Check(maps, "what do the data say, and what the priors?", 2.0, judges=False),
}

_FEW = 64


def default_checks() -> list[str]:
    """The checks that are made where none is asked for by name."""
    return [name for name, check in CHECKS.items() if check.default]


def run_panel(
    problem: Problem,
    model: Model,
    *,
    key: PRNGKeyArray,
    budget: Budget | None = None,
    checks: Iterable[str] | None = None,
    folder: Path | None = None,
    identity: str = "",
    report: Callable[[str, float], None] | None = None,
) -> dict[str, Result]:
    """Examines what was learned, on held-out observations. No check changes anything.

    **Arguments:** `problem`, the held-out observations; `model`, priors and posterior sampler; `checks`, names from
    `CHECKS` (default: `default_checks`); `folder`, where each result is kept as it is made, and found again;
    `identity`, a text that changes with the priors, so that results of others are not taken for theirs;
    `report(check, fraction)`.

    **Returns:** the results by name.

    **Raises:** `ValueError` for an unknown check.
    """
    budget = budget or Budget()
    names = list(default_checks() if checks is None else checks)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ValueError(f"unknown check {unknown[0]!r}; known: {', '.join(CHECKS)}")
    signature = _signature(problem, budget, key, identity)
    # the share of permitted alarms is that of the whole panel, so that a check alone says what it says among others
    case = Case(problem, model, budget, key, checks=sum(CHECKS[name].judges for name in default_checks()))
    total, before = sum(CHECKS[name].work for name in names), 0.0
    results: dict[str, Result] = {}
    for name in names:
        check = CHECKS[name]

        def tell(fraction: float, name: str = name, before: float = before, work: float = check.work) -> None:
            if report is not None:
                report(name, (before + min(fraction, 1.0) * work) / total)

        tell(0.0)
        found = None if folder is None else load_result(name, folder, signature)
        if not told(found is not None):  # of several processes the first looks, and keeps what all have made
            found = check.function(case, tell)
            if folder is not None:
                by_first(save_result)(found, folder, signature)
        elif found is None and folder is not None:
            found = load_result(name, folder, signature)
        assert found is not None
        results[name] = found
        before += check.work
        tell(0.0, before=before)
    return results


def load_panel(folder: Path) -> dict[str, Result]:
    """The results that are kept in a folder, of checks that were made together."""
    found = {name: load_result(name, folder) for name in CHECKS}
    return {name: result for name, result in found.items() if result is not None}


def few_observations(problem: Problem) -> list[Finding]:
    """A note for every view with so few held-out observations that its checks are weak."""
    return [
        Finding("green", f"view '{name}'", f"{len(view)} held-out observations make weak checks", "DC291")
        for name, view in problem.views.items()
        if len(view) < _FEW
    ]


def _signature(problem: Problem, budget: Budget, key: PRNGKeyArray, identity: str) -> str:
    text = f"{problem.fingerprint()}{budget.model_dump_json()}{jax.random.key_data(key).tolist()}{identity}"
    return sha256(text.encode()).hexdigest()[:16]
