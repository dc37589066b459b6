"""Files of the results: the table and the figure, beside the runs and among the documentation."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dichroic.studies.radio.figure import draw_rates
from dichroic.studies.reproduce.figure import draw_results
from dichroic.studies.reproduce.material import write_json
from dichroic.studies.reproduce.studies import STUDIES
from dichroic.studies.reproduce.table import as_markdown, mixtures_as_markdown, study_as_markdown

__all__ = ["write_results"]


def write_results(found: Mapping[str, Any], place: Path, docs: Path | None = None) -> list[Path]:
    """Writes `results.md` and figures into the folder of a scale, where `results.json` is.

    **Arguments:** `docs`, a folder that gets tables and figures, too: those of mixtures as `reproduce_SCALE.inc`,
    `.png` and `.json`, those of each study as `STUDY_SCALE.inc` and `STUDY_FIGURE_SCALE.png`.

    **Returns:** the files.
    """
    (place / "results.md").write_text(as_markdown(found), encoding="utf-8")
    written = [place / "results.md", place / "results.json"]
    name = f"reproduce_{found['scale']}"
    copies: dict[Path, str] = {}
    if figure := draw_results(found, place / "results.png"):
        copies[figure] = f"{name}.png"
    for e in found["experiments"]:
        if e.get("axis") and (curve := draw_rates(e, place / e["name"], place / f"{e['name']}.png")):
            copies[curve] = f"{e['name']}_{found['scale']}.png"
    mixed = found["experiments"] or found["ablations"]  # or else the tables of another call are left alone
    tables = {name: mixtures_as_markdown(found)} if mixed else {}
    for study in found.get("studies", []):
        stem, done = study["name"].replace("-", "_"), [c for c in study["cells"] if c["status"] == "done"]
        tables[f"{stem}_{found['scale']}"] = study_as_markdown(study)
        for figure in STUDIES[study["name"]].draw(done, place / study["name"]) if done else []:
            copies[figure] = f"{stem}_{figure.stem}_{found['scale']}.png"
    written += copies
    if docs is None:
        return written
    docs.mkdir(parents=True, exist_ok=True)
    for stem, text in tables.items():
        (docs / f"{stem}.inc").write_text(text, encoding="utf-8")
    for figure, copy in copies.items():
        shutil.copyfile(figure, docs / copy)
    written += [docs / f"{stem}.inc" for stem in tables]
    if mixed:
        write_json(docs / f"{name}.json", found)
        written.append(docs / f"{name}.json")
    return written
