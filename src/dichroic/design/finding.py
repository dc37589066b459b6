"""What a check has to say, in one sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "worst_first"]

Level = Literal["red", "amber", "green"]
_ORDER = ("red", "amber", "green")


@dataclass(frozen=True)
class Finding:
    """One sentence about the data, the design or the result.

    `red`: what follows cannot be trusted, and a fit refuses it; `amber` wants to be looked at; `green` may well be as
    it should. `where` names the view or the source; `code`, where there is one, the section of the documentation that
    says more.
    """

    level: Level
    where: str
    text: str
    code: str = ""


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Red before amber before green, otherwise in the order given."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.level))
