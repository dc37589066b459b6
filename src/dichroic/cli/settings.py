"""How flags, the table `[fit]` of the problem file and a preset become the settings of a fit."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dichroic.em import FitConfig

__all__ = ["SettingsError", "settle"]


class SettingsError(ValueError):
    """Settings that do not exist or are impossible. The message has one line for each."""


def settle(flags: Mapping[str, Any], table: Mapping[str, Any], preset: str | None = None) -> "FitConfig":
    """One `FitConfig` from what was said: flags come before the table `[fit]`, that before the preset.

    The table may name a preset too, `preset = "draft"`; the flag comes before it.

    **Raises:** `SettingsError`, with a line for every unknown or impossible setting.
    """
    from pydantic import ValidationError

    from dichroic.em.config import PRESETS, PUBLISHED, merge, renamed
    from dichroic.em.config import preset as settings_of
    from dichroic.posterior.old_settings import modern

    rest = dict(table)
    in_file = rest.pop("preset", "standard")
    name = preset or in_file
    known = [*PRESETS, *PUBLISHED]
    if name not in known:
        raise SettingsError(f"preset: unknown preset {name!r}; known: {', '.join(known)}")
    if isinstance(rest.get("sampling"), dict):
        base = (PRESETS | PUBLISHED)[name].get("sampling", {})
        rest["sampling"] = {"kind": base.get("kind", "auto"), **modern(rest["sampling"], base)}
    merged = merge(renamed(rest), flags)
    try:
        return settings_of(name, merged)
    except ValidationError as error:
        faults = [_sentence(detail, merged) for detail in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(faults))) from None


def _sentence(detail: Any, merged: Mapping[str, Any]) -> str:
    """One fault, in the words of the settings."""
    from dichroic.problem.faults import did_you_mean

    path = [str(part) for part in detail["loc"]]
    if path[0] == "laps":
        expected = "a positive number, or positive numbers by stage such as grass=8,digit=32"
        return f"laps: expected {expected}, got {merged['laps']!r}"
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        known = sorted(_known(path[:-1], merged))
        where = f" of {'.'.join(path[:-1])}" if path[:-1] else ""
        return f"{key}: unknown setting{did_you_mean(path[-1], known) or f'; those{where}: ' + ', '.join(known)}"
    message = (
        detail["msg"].replace("Input should be", "expected").replace("Value error, ", "").replace("a valid ", "a ")
    )
    return f"{key}: {message}, got {detail['input']!r}"


def _known(path: Iterable[str], merged: Mapping[str, Any]) -> set[str]:
    from dichroic.em import FitConfig
    from dichroic.kinds import model_of

    model: Any = FitConfig
    for name in path:
        merged = merged[name] if isinstance(merged.get(name), Mapping) else {}
        model = model_of(model.model_fields[name], merged)
    return set(model.model_fields)
