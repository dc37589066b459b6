"""What an EM run carries from lap to lap, and how it is kept on disk.

A checkpoint is a folder that is there as a whole or not at all: one prior file per source, and the draws with all else.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.diffusion import Prior
from dichroic.store import Format, file_names, load_arrays, load_json, reading, save_arrays, whole

__all__ = ["EMState", "load_state", "save_state"]

_STATE = Format("dichroic state", 2, unmarked=True)


@dataclass
class EMState:
    """The state after a lap.

    **Fields:** `stage`, index into the plan; `lap`, laps done in that stage; `priors`, of every source; `draws` and
    `held_out_draws`, `{view: {source: (n, ...)}}`, the posterior draws of the last E-step in the user's units, with a
    mask `usable` beside the sources; `best`, the best score of this stage so far with its lap, and `best_priors`, what
    had been learned by then; `records`, one dict per lap of the run, for curves and reports.
    """

    stage: int
    lap: int
    priors: dict[str, Prior]
    draws: dict[str, dict[str, np.ndarray]]
    held_out_draws: dict[str, dict[str, np.ndarray]]
    best: dict[str, Any] = field(default_factory=dict)
    best_priors: dict[str, Prior] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


def save_state(state: EMState, folder: Path) -> None:
    """Writes a checkpoint, whole or not at all."""
    names, arrays = [], {}
    for kind, views in (("draws", state.draws), ("held_out_draws", state.held_out_draws)):
        for view, samples in views.items():
            for source, x in samples.items():
                arrays[str(len(names))] = np.asarray(x)
                names.append([kind, view, source])
    content: dict[str, Any] = {
        "stage": state.stage,
        "lap": state.lap,
        "arrays": names,
        "best": state.best,
        "records": state.records,
    }
    with whole(folder) as temporary:
        temporary.mkdir()
        for kind, priors in (("priors", state.priors), ("best_priors", state.best_priors)):
            content[kind] = {s: f"{kind}_{stem}.safetensors" for s, stem in file_names(priors).items()}
            for source, file in content[kind].items():
                priors[source].save(temporary / file)
        save_arrays(temporary / "state.safetensors", arrays, content, _STATE)


def load_state(folder: Path) -> EMState:
    """Reads what `save_state` wrote.

    **Raises:** `StoreError` when some of it is missing, damaged or newer than this version.
    """
    with reading(folder):
        arrays, content = _load_first(folder) if (folder / "state.json").is_file() else _load(folder)
        priors, best_priors = (
            {s: Prior.load(folder / Path(file).name) for s, file in content[kind].items()}
            for kind in ("priors", "best_priors")
        )
        draws: dict[str, dict[str, dict[str, np.ndarray]]] = {"draws": {}, "held_out_draws": {}}
        for number, (kind, view, source) in enumerate(content["arrays"]):
            draws[kind].setdefault(view, {})[source] = arrays[str(number)]
        return EMState(
            content["stage"],
            content["lap"],
            priors,
            draws["draws"],
            draws["held_out_draws"],
            content["best"],
            best_priors,
            content["records"],
        )


def _load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return load_arrays(folder / "state.safetensors", _STATE)


def _load_first(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Version 1: the description by itself, and the names of the files understood."""
    content = load_json(folder / "state.json", _STATE)
    for kind in ("priors", "best_priors"):
        readable = ["".join(c if c.isalnum() or c in "-_" else "_" for c in source) for source in content[kind]]
        files = [f"{kind}_{number}_{stem}.safetensors" for number, stem in enumerate(readable)]
        content[kind] = dict(zip(content[kind], files, strict=True))
    return load_arrays(folder / "draws.safetensors", _STATE)[0], content
