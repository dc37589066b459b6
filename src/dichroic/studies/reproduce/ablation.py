"""Ablations: one experiment, one method, and a list of settings laid over its own."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dichroic.run import RunError
from dichroic.studies.reproduce.experiment import Published, check_name

__all__ = ["Ablation", "AblationRow", "ablation_names", "load_ablation"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AblationRow(_Table):
    """One variant: `settings` laid over the method's, `data` over the generator's arguments."""

    name: str
    settings: dict[str, Any] = {}
    data: dict[str, Any] = {}
    published: Published | None = None


class Ablation(_Table):
    """Variants of one method on one experiment per scale."""

    name: str
    title: str
    experiment: dict[str, str]
    rows: list[AblationRow]
    method: str = "dichroic"
    note: str = ""


def ablation_names() -> list[str]:
    """All ablations."""
    return list(_tables())


def load_ablation(name: str) -> Ablation:
    """An ablation by its name.

    **Raises:** `RunError` for an unknown one.
    """
    known = _tables()
    check_name("ablation", name, known)
    try:
        return Ablation.model_validate({**known[name], "name": name})
    except ValidationError as error:
        raise RunError(f"ablation '{name}': {error}") from error


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("dichroic.studies.experiments") / "ablations.toml").read_text(encoding="utf-8"))
