"""Which sources are learned when, and from which observations."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from dichroic.problem import Problem, ProblemError
from dichroic.settings import FitConfig

__all__ = ["Stage", "make_plan", "split"]


@dataclass(frozen=True)
class Stage:
    """Laps that learn some sources from some views; the other sources of those views are held fixed."""

    name: str
    learn: tuple[str, ...]
    views: tuple[str, ...]


def make_plan(problem: Problem, kind: str, frozen: Collection[str] = ()) -> list[Stage]:
    """The stages of a fit.

    "joint" is DDPRISM's algorithm 1: everything at once. "sequential" is its algorithm 2 for contrastive views: the
    source that is alone in some view comes first; then, again and again, the next one whose views mix it only with
    known ones.

    **Raises:** `ProblemError` when the views cannot be put into such an order.
    """
    wanted = [s for s in problem.sources if s not in frozen]
    if kind == "joint":
        views = tuple(v for v, view in problem.views.items() if any(s in wanted for s in view.mixing))
        return [Stage("joint", tuple(wanted), views)] if wanted else []
    known, stages = set(frozen), []
    while len(stages) < len(wanted):
        for s in wanted:
            views = tuple(v for v in problem.views_of(s) if set(problem.views[v].mixing) <= known | {s})
            if s not in known and views:
                stages.append(Stage(s, (s,), views))
                known.add(s)
                break
        else:
            left = ", ".join(f"'{s}'" for s in wanted if s not in known)
            raise ProblemError(
                [
                    f"the sequential plan cannot go on with {left}: no view mixes one of them with known sources only; "
                    'use plan = "joint", or add such a view'
                ]
            )
    return stages


def split(problem: Problem, held_out: Problem | float | None, config: FitConfig) -> tuple[Problem, Problem | None]:
    """The observations to learn from, and those to judge by (at most `held_out_limit` per view)."""
    if isinstance(held_out, Problem):
        kept, held = problem, held_out.knowing(problem.sources)
    else:
        share = config.held_out if held_out is None else held_out
        if share == 0 or any(len(view) < 2 for view in problem.views.values()):
            return problem, None
        kept, held = problem.split(share, config.seed)
    limit = config.held_out_limit
    return kept, held.select({name: np.arange(min(limit, len(view))) for name, view in held.views.items()})
