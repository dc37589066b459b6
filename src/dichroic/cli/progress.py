"""The progress that commands show while they compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dichroic.run import Progress

__all__ = ["meter"]


@contextmanager
def meter(quiet: bool) -> "Iterator[Progress]":
    """Progress on the terminal, or none of it; closed at the end, however it comes."""
    from dichroic.run import Quiet, Terminal

    progress = Quiet() if quiet else Terminal()
    try:
        yield progress
    finally:
        progress.close()
