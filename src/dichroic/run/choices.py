"""Which prior of every source a fit uses, of those it had, and by what proof: read from its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dichroic.diagnose import Nearer

__all__ = ["Choice", "choices"]


@dataclass(frozen=True)
class Choice:
    """The prior of a source that is used, and what was tried in its place.

    **Fields:** `prior`, where it came from, in words: *known*, *given* (to begin at), *closed form*, *lap 3*,
    *round 3*; `tried`, the same of what was learned last and had to prove itself, empty where nothing was learned;
    `used`, whether that is what is used; `proof`, by view what held-out observations said of it (`Nearer`), empty where
    nothing could be proven or nobody asked.
    """

    source: str
    prior: str
    tried: str = ""
    used: bool = False
    proof: Mapping[str, Nearer] = field(default_factory=dict)

    @property
    def reading(self) -> str:
        """What to read from it, in a few words."""
        if not self.tried:
            return ""
        if not self.proof:
            return "not asked for proof" if self.used else "no lap predicts better"
        if self.used:
            return "proven better"
        if any(f.worse for f in self.proof.values()):
            return "worse"
        if not any(f.told for f in self.proof.values()):
            return "not told apart"
        return "not proven better"

    @property
    def sentence(self) -> str:
        """What is used, of what was tried, and why."""
        tried = "" if self.used or not self.proof else f" {self.tried} is"
        by = ", ".join(f"{f.errors:+.1f} in '{v}'" for v, f in self.proof.items())
        why = f"{tried} {self.reading}" + (f", by standard errors: {by}" if by else "")
        return f"{self.source}: {self.prior}" + (f" ({why.strip()})" if self.tried else "")

    def describe(self) -> dict[str, Any]:
        """Everything, fit for JSON."""
        views = {v: {"errors": f.errors, "place": f.place, "told": f.told} for v, f in self.proof.items()}
        return {**vars(self), "proof": views, "reading": self.reading}


def choices(records: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> dict[str, Choice]:
    """For every source the prior that is used, or would be if the fit ended now.

    **Arguments:** `records`, of the laps; `described`, what the run is about (`RunFolder.problem()`).
    """
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        stages.setdefault(record.get("stage", ""), []).append(record)
    found = {}
    for s in described["sources"]:
        known = "known" if s in described.get("frozen", ()) else "given" if s in described.get("start", ()) else ""
        found[s] = Choice(s, known or "closed form")
        for stage, of in stages.items():
            if any(s in record.get("loss", ()) for record in of):
                found[s] = _after(found[s], of[-1], "" if len(stages) == 1 else f" of stage '{stage}'")
    return found


def _after(before: Choice, last: Mapping[str, Any], stage: str) -> Choice:
    """After a stage that learned the source, with its last record."""
    best = last.get("best_lap", last.get("lap", 0))
    number = last.get("tried", best)
    tried = f"{'round' if 'power' in last else 'lap'} {number}{stage}" if number else f"laps{stage}"
    before = replace(before, tried=tried, used=False, proof={})
    proof = last.get("proof", {}).get(before.source)
    if proof is None:
        return replace(before, prior=tried, used=True) if last.get("predicted", best) else before
    views = {v: _nearer(*numbers) for v, numbers in proof["views"].items()}
    return replace(before, prior=tried if proof["used"] else before.prior, used=proof["used"], proof=views)


def _nearer(place: float, gain: float, error: float, *apart: float) -> Nearer:
    """Of records without it, how far the priors are apart is known from where the observations are."""
    return Nearer(gain, error, *(apart or (gain / (place - 0.5) if place != 0.5 else np.nan, 0.0)))
