"""What a run is about, by which it is known again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dichroic.diffusion import Prior
from dichroic.problem import Problem, describe_source
from dichroic.run.folder import RunError, RunFolder
from dichroic.settings import FitConfig

__all__ = ["continued", "describe_run"]


def describe_run(
    problem: Problem,
    held_out: Problem | float | None,
    frozen: Mapping[str, Prior],
    start: Mapping[str, Prior],
    file: str | Path | None,
) -> dict[str, Any]:
    """Where the observations come from, what they and the priors are, and what their fingerprints are."""
    return {
        "title": problem.title,
        "file": None if file is None else str(Path(file).resolve()),
        "fingerprint": problem.fingerprint(),
        "held_out": held_out.fingerprint() if isinstance(held_out, Problem) else held_out,
        "frozen": {s: frozen[s].fingerprint() for s in sorted(frozen)},
        **({"start": {s: start[s].fingerprint() for s in sorted(start)}} if start else {}),
        "sources": {s: describe_source(source) for s, source in problem.sources.items()},
        "views": {
            name: {"observations": len(view), "shape": list(view.event_shape), "sources": list(view.mixing)}
            for name, view in problem.views.items()
        },
    }


def continued(folder: RunFolder, config: FitConfig | None, description: Mapping[str, Any]) -> FitConfig:
    """The settings of the run in a folder, which must be of the same observations and, where any are given, of these.

    **Raises:** `RunError` otherwise.
    """
    before = folder.problem()
    for what, name in (
        ("fingerprint", "observations"),
        ("held_out", "held-out observations"),
        ("frozen", "known priors"),
        ("start", "priors to begin at"),
    ):
        if before.get(what) != description.get(what):
            raise RunError(f"the run in {folder.path} was started with other {name}; choose another folder")
    settings = folder.config()
    if config is not None and config != settings:
        old, new = settings.model_dump(), config.model_dump()
        changed = ", ".join(key for key in new if new[key] != old[key])
        raise RunError(f"the run in {folder.path} was started with other settings ({changed}); choose another folder")
    return settings
