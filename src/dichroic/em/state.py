"""What an EM run carries from lap to lap, and how it is kept on disk.

A checkpoint is a folder: one prior file per source, the draws, and `state.json`. It is written under a temporary name
and renamed, so that a process killed at any moment leaves whole checkpoints only.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.diffusion import Prior

__all__ = ["EMState", "load_state", "save_state"]


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
    from safetensors.numpy import save

    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for kind, priors in (("priors", state.priors), ("best_priors", state.best_priors)):
        for number, (source, prior) in enumerate(priors.items()):
            prior.save(temporary / _prior_file(kind, number, source))
    names, arrays = [], {}
    for kind, views in (("draws", state.draws), ("held_out_draws", state.held_out_draws)):
        for view, samples in views.items():
            for source, x in samples.items():
                arrays[str(len(names))] = np.asarray(x, order="C")
                names.append([kind, view, source])
    (temporary / "draws.safetensors").write_bytes(save(arrays))
    content = {
        "stage": state.stage,
        "lap": state.lap,
        "priors": list(state.priors),
        "best_priors": list(state.best_priors),
        "arrays": names,
        "best": state.best,
        "records": state.records,
    }
    (temporary / "state.json").write_text(json.dumps(content, indent=1))
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)


def load_state(folder: Path) -> EMState:
    """Reads what `save_state` wrote."""
    from safetensors.numpy import load_file

    content = json.loads((folder / "state.json").read_text())
    priors, best_priors = (
        {s: Prior.load(folder / _prior_file(kind, number, s)) for number, s in enumerate(content[kind])}
        for kind in ("priors", "best_priors")
    )
    arrays = load_file(str(folder / "draws.safetensors"))
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


def _prior_file(kind: str, number: int, source: str) -> str:
    readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in source)
    return f"{kind}_{number}_{readable}.safetensors"
