"""What a check has to say, in one sentence."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One sentence about the data, the design or the result.

    A `warning` wants to be looked at, a `note` may well be as it should. `where` names the view or the source; `code`,
    where there is one, the section of the documentation that says more.
    """

    level: Literal["warning", "note"]
    where: str
    text: str
    code: str = ""
