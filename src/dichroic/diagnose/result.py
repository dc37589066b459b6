"""What a check found: numbers with p-values, a level, findings in words, and the arrays for its picture."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.design.finding import Finding, Level
from dichroic.store import Format, StoreError, load_arrays, load_json, reading, save_arrays

__all__ = ["ALARMS", "LEVELS", "Question", "Result", "conclude", "load_result", "save_result", "worst"]

_RESULT = Format("dichroic check", 2, unmarked=True)

LEVELS: tuple[Level, ...] = ("green", "amber", "red")

# the share of sound results in which anything at all may be amber or red; checks share it equally, and within a check
# its questions do (Bonferroni), which holds however they depend on each other
ALARMS = 0.03


@dataclass(frozen=True)
class Question:
    """One question of a check.

    **Fields:** `where`, the view, source or both; `what` was asked; `value`, what was found, and `expected`, what a
    sound result gives on average; `p`, how often a sound result is that far off; `tolerance` and `severe`, how large a
    difference is worth a look and an alarm, however certain it is; `weight`, its share of the permitted false alarms.
    """

    where: str
    what: str
    value: float
    expected: float
    p: float
    tolerance: float
    severe: float
    weight: float = 1.0

    @property
    def effect(self) -> float:
        """Signed difference from what was expected."""
        return self.value - self.expected

    def level(self, alpha: float) -> Level:
        """The level, `alpha` being the p-value below which chance is ruled out."""
        if not self.p < alpha or not abs(self.effect) > self.tolerance:
            return "green"
        return "red" if abs(self.effect) > self.severe else "amber"


@dataclass(frozen=True)
class Result:
    """A check's answer.

    **Fields:** `p`, the smallest p-value of its parts, corrected for their number; `level`; `parts`; `loud`, the
    indices of the parts that are not green; `notes`, in words, whatever the level; `observations` and `draws`, how many
    it rests on; `arrays`, for the picture.
    """

    check: str
    p: float
    level: Level
    parts: list[Question]
    loud: list[int]
    notes: list[Finding] = field(default_factory=list)
    observations: int = 0
    draws: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def alarms(self) -> list[Question]:
        """The parts that are not green."""
        return [self.parts[i] for i in self.loud]

    def about(self, what: str) -> list[Question]:
        """The parts that are not green and ask this."""
        return [part for part in self.alarms if part.what == what]

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, fit for JSON."""
        content = {key: value for key, value in vars(self).items() if key not in ("arrays", "parts", "notes")}
        content |= {"parts": [asdict(p) for p in self.parts], "notes": [vars(n) for n in self.notes]}
        return content


def worst(levels: Iterable[Level]) -> Level:
    """The worst of some levels."""
    found = set(levels)
    for level in LEVELS[::-1]:
        if level in found:
            return level
    return "green"


def conclude(check: str, parts: list[Question], checks: int, diverged: float = 0.0, **fields: Any) -> Result:
    """The result of a check from its parts, when `checks` of them share the permitted false alarms.

    **Arguments:** `diverged`, the share of draws that failed; it becomes a part with certainty as its p-value.
    """
    asked = max(sum(part.weight for part in parts), 1.0)
    p = min([1.0, *(asked / part.weight * part.p for part in parts if np.isfinite(part.p))])
    parts = [*parts, Question("draws", "diverged", diverged, 0.0, 0.0 if diverged else 1.0, 0.01, 0.1)]
    levels: list[Level] = [part.level(ALARMS / checks * part.weight / asked) for part in parts]
    loud = [i for i, level in enumerate(levels) if level != "green"]
    return Result(check, float(p), worst(levels), parts, loud, **fields)


def save_result(result: Result, folder: Path, signature: str) -> None:
    """Writes `CHECK.safetensors`, whole or not at all: its presence says that the check is done."""
    content = {"signature": signature, **_finite(result.summary())}
    save_arrays(folder / f"{result.check}.safetensors", result.arrays, content, _RESULT)


def load_result(check: str, folder: Path, signature: str | None = None) -> Result | None:
    """Reads what `save_result` wrote; None when it is not there, damaged, or of another `signature`."""
    file, first = folder / f"{check}.safetensors", folder / f"{check}.json"
    try:
        with reading(file):
            if file.is_file():
                arrays, content = load_arrays(file, _RESULT)
            else:
                content = load_json(first, _RESULT)
                with np.load(first.with_suffix(".npz")) as stored:
                    arrays = dict(stored)
            if content.pop("signature") != signature and signature is not None:
                return None
            parts = [_part(stored) for stored in content.pop("parts")]
            notes = [Finding(**note) for note in content.pop("notes")]
            return Result(**content, parts=parts, notes=notes, arrays=arrays)
    except (FileNotFoundError, StoreError):
        return None


def _part(stored: dict[str, Any]) -> Question:
    filled: dict[str, Any] = {key: float("nan") if value is None else value for key, value in stored.items()}
    return Question(**filled)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content.item() if isinstance(content, np.generic) else content
