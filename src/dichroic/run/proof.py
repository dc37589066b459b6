"""The burden of proof: what laps have learned takes the place of what they began with only where held-out observations
are nearer to it beyond doubt, source by source (`dichroic.diagnose.nearer`).

So a fit never ends with priors that are worse than those it started from, as far as chance allows: three standard
errors.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from jaxtyping import PRNGKeyArray

from dichroic.diagnose import COPIES, Budget, Case, LearnedModel, Nearer, nearer
from dichroic.diffusion import Prior
from dichroic.em import Stage
from dichroic.hosts import told
from dichroic.problem import Problem

__all__ = ["LEAST", "proofs", "proven"]

LEAST = 64  # observations of a view, below which nothing could be proven


def proofs(held_out: Problem, plan: Sequence[Stage]) -> list[float]:
    """What the proof after every stage takes, in judgements by the law of the mixtures: a classifier learns in each
    view for one of these, `COPIES` of them in each view of a source for its proof.
    """
    large = [view.mixing for view in held_out.views.values() if len(view) >= LEAST]
    return [COPIES * sum(s in view for s in stage.learn for view in large) / max(len(large), 1) for stage in plan]


def proven(
    held_out: Problem,
    before: Mapping[str, Prior],
    after: Mapping[str, Prior],
    learned: Collection[str],
    key: PRNGKeyArray,
    say: Callable[[str], None],
    report: Callable[[float], None] = lambda part: None,
) -> tuple[dict[str, Prior], dict[str, Any]]:
    """Takes the `learned` sources from `before` to `after` one by one, each where that is proven.

    Sources in no view with observations enough for a proof are taken as they come. Of several processes the first one
    decides.

    **Returns:** the priors, and for every source that was judged whether it is `used`, and by view the place on the way
    to the new prior at which observations are, and the numbers of `Nearer`.
    """
    kept, record = dict(before), {}
    views = {s: [v for v, view in held_out.views.items() if s in view.mixing and len(view) >= LEAST] for s in learned}
    done, total = 0, sum(map(len, views.values()))
    for s in learned:
        trial, found = {**kept, s: after[s]}, {}
        case = Case(held_out, LearnedModel(kept), Budget(), key)
        for v in views[s]:
            report(done / total)
            found[v] = nearer(case, LearnedModel(trial), v)
            done += 1
        used = told(not found or (any(f.better for f in found.values()) and not any(f.worse for f in found.values())))
        if found:
            record[s] = {"used": used, "views": {v: [f.place, *astuple(f)] for v, f in found.items()}}
            say(f"{s}: {', '.join(_words(v, f) for v, f in found.items())}: the laps' prior is {_used(used)}")
        kept = trial if used else kept
    return kept, record


def _words(view: str, found: Nearer) -> str:
    if not found.told:
        return f"'{view}' does not tell the laps' prior from the one before"
    way = f"{found.place:.1f} of the way to the laps' prior"
    return f"'{view}' is at {way}, {found.errors:+.1f} standard errors from half-way"


def _used(used: bool) -> str:
    return "used" if used else "not used, for want of proof"
