"""Runs the Python on a page of the documentation, block after block, as its reader would:

    python benchmarks/tutorial.py docs/tutorials/cells.md docs/_static

The blocks print the numbers that the page quotes; the `figure` that they end with goes into the folder. Needed beside
dichroic are the packages that the page asks for.
"""

import re
import sys
from pathlib import Path
from typing import Any


def blocks(page: str) -> list[str]:
    """The Python of a page in MyST's Markdown, whether the documentation runs it itself or only shows it."""
    return re.findall(r"^```(?:python|\{code-cell\} python)\n(.*?)^```$", page, re.M | re.S)


if __name__ == "__main__":
    page, out = map(Path, sys.argv[1:])
    scope: dict[str, Any] = {"__name__": "__tutorial__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), scope)
    scope["figure"].savefig(out / f"{page.stem}.png", dpi=130)
