"""What an EM run carries from lap to lap, how it is kept on disk, and what a lap gathers while it is made.

A checkpoint is a folder that is there as a whole or not at all: one prior file per source, and the draws with all else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic import memory
from dichroic.diffusion import Prior
from dichroic.em.plan import Stage
from dichroic.posterior import Bound
from dichroic.problem import Problem
from dichroic.settings import FitConfig
from dichroic.store import Format, StoreError, file_names, load_arrays, load_json, reading, save_arrays, whole

__all__ = ["EMState", "Expectation", "Lap", "load_state", "save_state"]

_PRIORS = ("priors", "best_priors", "first_priors")
_STATE = Format("dichroic state", 2, unmarked=True)


@dataclass
class EMState:
    """The state after a lap.

    **Fields:** `stage`, index into the plan; `lap`, laps done in that stage; `priors`, of every source; `draws` and
    `held_out_draws`, `{view: {source: (n, ...)}}`, the posterior draws of the last E-step in the user's units, with a
    mask `usable` beside the sources; `best`, the best score of this stage so far with its lap, and the lap whose priors
    are to be tried (`dichroic.em.score.judge`); `best_priors`, what had been learned by the latter; `first_priors`, of
    the sources that this stage learns, before its first lap; `records`, one dict per lap of the run, for curves and
    reports.
    """

    stage: int
    lap: int
    priors: dict[str, Prior]
    draws: dict[str, dict[str, np.ndarray]]
    held_out_draws: dict[str, dict[str, np.ndarray]]
    best: dict[str, Any] = field(default_factory=dict)
    best_priors: dict[str, Prior] = field(default_factory=dict)
    first_priors: dict[str, Prior] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def predicting(self) -> dict[str, Prior]:
        """The priors of the lap that predicts best."""
        first = self.first_priors if self.best and not self.best["lap"] else {}
        return {**self.priors, **self.best_priors, **first}


@dataclass(frozen=True)
class Expectation:
    """Everything a lap needs besides its state: the data, the plan and the settings.

    `report(what, done, total)` is called within a lap; `what` is a pass and the source or the view. `prove(before,
    after, learned)` says at the end of a stage which priors go on, of those before its laps and those after, and what
    to record of it; without it, those of the best prediction.
    """

    problem: Problem
    held_out: Problem | None
    config: FitConfig
    plan: list[Stage]
    report: Callable[[str, int, int], None]
    prove: Callable[[dict[str, Prior], dict[str, Prior], tuple[str, ...]], tuple[dict[str, Prior], Any]] | None = None

    def key(self, *path: int) -> PRNGKeyArray:
        """A key that depends on the seed and a path of numbers, and on nothing else."""
        key = jax.random.key(self.config.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        return key


@dataclass
class Lap:
    """One lap of a stage; number 0 is that of the first draws, before anything is trained.

    **Fields:** `state`, after the lap before; `priors`, of every source, those that this lap has trained among them;
    `loss`, by source; `bounds`, `draws`, `held_out_draws`, `views` (what the record says) and `scores`, by view.
    """

    state: EMState
    stage: Stage
    context: Expectation
    number: int
    priors: dict[str, Prior]
    loss: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, Bound] = field(default_factory=dict)
    draws: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    held_out_draws: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    def key(self, purpose: int, view: str) -> PRNGKeyArray:
        """The key of a view in this lap."""
        return self.context.key(purpose, self.state.stage, self.number, list(self.context.problem.views).index(view))

    def pooled(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        """The draws of a source in the lap before, of all views, and which of them are usable."""
        found = [self.state.draws[v] for v in self.stage.views if source in self.state.draws[v]]
        return memory.stacked([x[source] for x in found]), np.concatenate([x["usable"] for x in found])


def save_state(state: EMState, folder: Path, run: str | None = None) -> None:
    """Writes a checkpoint, whole or not at all; `run`, what tells those of one run from those of others."""
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
        "run": run,
    }
    with whole(folder) as temporary:
        temporary.mkdir()
        for kind in _PRIORS:
            priors = getattr(state, kind)
            content[kind] = {s: f"{kind}_{stem}.safetensors" for s, stem in file_names(priors).items()}
            for source, file in content[kind].items():
                priors[source].save(temporary / file)
        save_arrays(temporary / "state.safetensors", arrays, content, _STATE)


def load_state(folder: Path, run: str | None = None) -> EMState:
    """Reads what `save_state` wrote.

    **Raises:** `StoreError` when some of it is missing, damaged, newer than this version or of another run.
    """
    with reading(folder):
        arrays, content = _load_first(folder) if (folder / "state.json").is_file() else _load(folder)
        if run is not None and content.get("run") not in (None, run):
            raise StoreError(f"{folder} is of another run")
        priors, best_priors, first_priors = (
            {s: Prior.load(folder / Path(file).name) for s, file in content.get(kind, {}).items()} for kind in _PRIORS
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
            first_priors,
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
