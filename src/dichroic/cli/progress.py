"""The progress that commands show while they compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dichroic.run import Progress

__all__ = ["meter"]


@contextmanager
def meter(quiet: bool) -> "Iterator[Progress]":
    """Progress on the terminal of the first process, or none of it; closed at the end, however it comes."""
    from dichroic.hosts import is_first
    from dichroic.run import Quiet, Terminal

    progress = Terminal() if is_first() and not quiet else Quiet()
    try:
        yield progress
    finally:
        progress.close()
