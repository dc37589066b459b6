"""One-step generators of laws in the plane and of digits, by every way there is to one: the published comparisons.

Source: Jayashankar's thesis, chapter 8, and the known answers that go with it.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dichroic.store import write
from dichroic.studies.one_step.figure import draw_rows
from dichroic.studies.one_step.laws import LAWS, Law
from dichroic.studies.one_step.rows import PARTS, Row, rows
from dichroic.studies.one_step.table import as_table
from dichroic.studies.one_step.ways import WAYS

__all__ = ["LAWS", "PARTS", "WAYS", "Law", "Row", "one_step"]


def one_step(
    scale: str,
    out: Path,
    *,
    seed: int = 0,
    methods: Sequence[str] = (),
    parts: Sequence[str] = PARTS,
    docs: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[str, list[Path]]:
    """Trains the generators of a scale, those that are not done, and writes their table and their figures.

    **Arguments:** `out`, the folder of all scales; `methods`, some of `WAYS` (default: those of each law); `parts`,
    some of `PARTS`; `docs`, a folder to write table and figures to as well.

    **Returns:** the table, and the files written.

    **Raises:** `ValueError` for an unknown method.
    """
    if unknown := [m for m in methods if m not in WAYS]:
        raise ValueError(f"unknown method '{unknown[0]}' of one-step; there are: {', '.join(WAYS)}")
    folder = out / scale / "one-step"
    found = rows(scale, folder, seed=seed, methods=methods, parts=parts, report=report)
    table = as_table(found)
    write(folder / "one_step.md", table)
    written = [folder / "one_step.md", *draw_rows(found, folder)]
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        for file in written:
            stem = file.stem.removeprefix("one_step")
            name = f"one_step_{scale}.inc" if file.suffix == ".md" else f"one_step_{stem}_{scale}.png"
            shutil.copyfile(file, docs / name)
    return table, written
