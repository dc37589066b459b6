"""Files of the results: the table and the figure, beside the runs and among the documentation."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dichroic.studies.radio.figure import draw_rates
from dichroic.studies.reproduce.figure import draw_results
from dichroic.studies.reproduce.material import write_json
from dichroic.studies.reproduce.table import as_markdown

__all__ = ["write_results"]


def write_results(found: Mapping[str, Any], place: Path, docs: Path | None = None) -> list[Path]:
    """Writes `results.md` and `results.png` into the folder of a scale, where `results.json` is.

    **Arguments:** `docs`, a folder that gets all three as `reproduce_SCALE.inc`, `.png` and `.json`.

    **Returns:** the files.
    """
    (place / "results.md").write_text(as_markdown(found), encoding="utf-8")
    written = [place / "results.md", place / "results.json"]
    figure = draw_results(found, place / "results.png")
    written += [figure] if figure else []
    curves = [
        drawn
        for e in found["experiments"]
        if e.get("axis") and (drawn := draw_rates(e, place / e["name"], place / f"{e['name']}.png"))
    ]
    written += curves
    if docs is None:
        return written
    docs.mkdir(parents=True, exist_ok=True)
    name = f"reproduce_{found['scale']}"
    (docs / f"{name}.inc").write_text(as_markdown(found), encoding="utf-8")
    write_json(docs / f"{name}.json", found)
    for curve in curves:
        shutil.copyfile(curve, docs / f"{curve.stem}_{found['scale']}.png")
    if figure:
        shutil.copyfile(figure, docs / f"{name}.png")
    return [*written, docs / f"{name}.inc", docs / f"{name}.json"]
