"""Faults in a user's problem, and how they are collected: one sentence each, all of them at once."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

import numpy as np

__all__ = [
    "ProblemError",
    "among",
    "collect",
    "did_you_mean",
    "first_line",
    "located",
    "names",
    "require_known",
    "samples",
]


class ProblemError(ValueError):
    """Everything that is wrong with a problem. `faults` holds one sentence for each fault."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__(faults[0] if len(faults) == 1 else "\n".join(f"- {fault}" for fault in faults))


@contextmanager
def collect(faults: list[str], where: str = "") -> Iterator[None]:
    """Adds the faults raised inside to `faults`, with their place in front, and goes on."""
    try:
        yield
    except ProblemError as error:
        faults += _place(where, error.faults)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Puts the place in front of the faults raised inside."""
    try:
        yield
    except ProblemError as error:
        raise ProblemError(_place(where, error.faults)) from None


def _place(where: str, faults: list[str]) -> list[str]:
    return [f"{where}: {fault}" if where else fault for fault in faults]


def names(known: Iterable[str], most: int = 20) -> str:
    """Names in quotes, for a sentence."""
    known = [f"'{name}'" for name in known]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more if known else "none"


def among(name: str | None, known: Iterable[str], words: Mapping[str, Iterable[str]] | None = None) -> str:
    """`'x', 'y'; did you mean 'x'?`: the end of a sentence about a name that is none of those; `words` as below."""
    known = list(known)
    return names(known) + did_you_mean(name, known, words)


def did_you_mean(name: str | None, known: Iterable[str], words: Mapping[str, Iterable[str]] | None = None) -> str:
    """`; did you mean 'x'?` where `name` is one of the other words for `x`, or close to it; else nothing."""
    said = str(name or "").lower()
    lower = {other.lower(): other for other in reversed(list(known))}
    near = [key for key, others in (words or {}).items() if said.replace("-", "_") in others]
    near += [lower[found] for found in get_close_matches(said, lower, n=1)]
    return f"; did you mean '{near[0]}'?" if near else ""


def require_known(given: Iterable[str], known: Iterable[str], what: str = "key") -> None:
    """**Raises:** `ProblemError` for the first of those given that is not known."""
    known = list(known)
    for name in given:
        if name not in known:
            raise ProblemError([f"unknown {what} '{name}'; known: {among(name, known)}"])


def samples(indices: np.ndarray, verb: tuple[str, str] = ("has", "have")) -> str:
    """`sample 3 has` or `samples 1, 2, 3, 4, 5 and 20 more have`."""
    shown = ", ".join(str(i) for i in indices[:5])
    if len(indices) == 1:
        return f"sample {shown} {verb[0]}"
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"samples {shown}{more} {verb[1]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for one sentence about somebody else's failure."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
