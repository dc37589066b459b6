"""What to do next with a run folder: commands, as a shell takes them."""

from pathlib import Path
from shlex import quote

__all__ = ["command", "go_on", "no_run"]


def command(name: str, folder: str | Path, *more: str) -> str:
    """A command on a run folder and what else it is told, whatever characters they have."""
    return " ".join(["dichroic", name, *map(quote, (str(folder), *more))])


def go_on(folder: Path) -> str:
    """How to go on with it, for the end of a sentence."""
    return f"continue with: {command('resume', folder)}"


def no_run(folder: str | Path) -> str:
    """The sentence about a folder without a run."""
    return f"there is no run in {folder}; start one with: {command('fit problem.toml --out', folder)}"
