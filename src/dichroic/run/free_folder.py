"""Where a run goes for which no place was named."""

from pathlib import Path

from dichroic.store import readable

__all__ = ["free_folder"]


def free_folder(title: str) -> Path:
    """The next free folder under `runs/` for the title of a problem."""
    stem = readable(title.lower()).replace("_", "-").strip("-") or "run"
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return path
