"""Faults in a user's problem, and how they are collected: one sentence each, all of them at once."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

import numpy as np

__all__ = ["ProblemError", "collect", "did_you_mean", "first_line", "located", "meant", "names", "samples"]


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known name is close, else nothing."""
    known = list(known)
    lower = {other.lower(): other for other in reversed(known)}
    near = get_close_matches(str(name).lower(), lower, n=1)
    return f"; did you mean '{lower[near[0]]}'?" if near else ""


def meant(name: str, known: Mapping[str, Iterable[str]]) -> str:
    """`; did you mean 'x'?` when `name` is one of the other words for `x`, else nothing."""
    word = str(name).lower().replace("-", "_")
    return next((f"; did you mean '{key}'?" for key, words in known.items() if word in words), "")


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
