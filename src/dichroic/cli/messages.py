"""Sentences for whoever reads the terminal: results on standard output, everything else on standard error."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["complain", "harmless", "plain", "say", "warnings_told"]


def harmless(text: str) -> str:
    """A text without the characters that tell a terminal what to do: file names, and what files say, may have them."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def say(line: str) -> None:
    """A line of the result."""
    print(harmless(line), flush=True)


def complain(kind: str, message: str) -> None:
    """What went wrong, in red where there are colours, on lines that are not broken."""
    from rich.console import Console
    from rich.text import Text

    text = Text(f"{kind}: ", style="bold red" if kind == "error" else "bold yellow")
    console = Console(stderr=True)
    console.print(
        text.append(harmless(message), style="red" if kind == "error" else ""), soft_wrap=True, highlight=False
    )


def plain(error: Exception) -> str:
    """The message of an error without the computer's part in it."""
    faults = getattr(error, "faults", None)
    if faults and len(faults) > 1:
        return f"{len(faults)} faults\n" + "\n".join(f"  - {fault}" for fault in faults)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


@contextmanager
def warnings_told() -> Iterator[None]:
    """Warnings as sentences, without lines of code; those of NumPy about its arithmetic are for developers."""

    def tell(message: Warning | str, category: type[Warning], *_: Any) -> None:
        if issubclass(category, UserWarning):
            complain("warning", str(message))

    before = warnings.showwarning
    if not os.environ.get("DICHROIC_TRACEBACK"):
        warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = before
