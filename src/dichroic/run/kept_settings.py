"""Settings as a run keeps them."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dichroic.settings import FitConfig
from dichroic.store import StoreError

__all__ = ["difference", "read_settings"]


def read_settings(content: Any, file: Path) -> FitConfig:
    """The settings that a file of a run holds.

    **Raises:** `StoreError` where this version does not take them.
    """
    try:
        return FitConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(f"{file} holds settings that this version does not take: {where}: {first['msg']}") from error


def difference(before: FitConfig, now: FitConfig) -> str:
    """What some settings were, as far as others differ from them."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    return ", ".join(f"{key} = {old[key]}" for key in old if old[key] != new[key])
