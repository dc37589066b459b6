"""`dichroic status`: how far a run is, without its data."""

from pathlib import Path
from typing import Any

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Folder, Json

__all__ = ["status"]


def status(folder: Folder, *, json: Json = False) -> int:
    """Say what was done in a run, how good it was so far, and what to do next."""
    prepare()
    from dichroic.cli.output import print_json

    found = describe(folder)
    print_json(found) if json else show(found)
    return 0


def describe(path: Folder) -> dict[str, Any]:
    """The stages with their laps and scores, time spent, size on disk, and the next command; fit for JSON.

    **Raises:** `RunError` where there is no run.
    """
    from dichroic.run import RunError, RunFolder
    from dichroic.run.choices import choices
    from dichroic.run.heartbeat import life_of
    from dichroic.run.next_step import command, no_run
    from dichroic.run.summary import stages_of

    folder = RunFolder(path)
    if not folder.exists:
        raise RunError(no_run(path))
    problem, records = folder.problem(), folder.records()
    gaussian, finished = folder.gaussian() is not None, folder.finished
    checkpoint = None if finished else folder.checkpoint()
    records = records or (checkpoint.records if checkpoint else [])
    if finished:
        state, then = "finished", command("report", path)
    else:
        lap = f"stopped after lap {checkpoint.lap}" if checkpoint else "stopped after the Gaussian stage"
        state, then = (lap if checkpoint or gaussian else "just begun"), command("resume", path)
    life = life_of(path)
    if life is not None:
        state, then = ("stale", then) if life.stale else ("alive", command("status", path))
    seconds = sum(float(x or 0) for record in records for x in (record.get("seconds") or {}).values())
    size = sum(map(_bytes, path.rglob("*")))
    separated = (path / "separated.zarr").is_dir()
    return {
        "folder": str(path),
        "title": problem["title"],
        "file": problem["file"],
        "state": state,
        "sources": list(problem["sources"]),
        "observations": {name: view["observations"] for name, view in problem["views"].items()},
        "stages": stages_of(records),
        "priors": [choice.describe() for choice in choices(records, problem).values()],
        "life": life and {**vars(life), "stale": life.stale},
        "seconds": seconds,
        "bytes": size,
        "separated": separated,
        "next": then,
    }


def _bytes(file: Path) -> int:
    """The size of a file, none of what is no file, or no more: a fit may go on meanwhile."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0


def show(found: dict[str, Any]) -> None:
    """Prints it."""
    from dichroic.cli.output import show_priors, show_stages
    from dichroic.cli.plan import in_words

    say(f"{found['title'] or 'Untitled'}: {found['state']}")
    say(f"problem:  {found['file'] or 'from Python'}")
    seen = ", ".join(f"{n} of '{view}'" for view, n in found["observations"].items())
    say(f"learns:   {', '.join(found['sources'])} from {seen}")
    laps = f"{in_words(found['seconds'])} in laps, " if found["seconds"] > 1 else ""
    say(f"spent:    {laps}{found['bytes'] / 1e6:.1f} MB")
    if life := found["life"]:
        left = "" if life["left"] is None or life["stale"] else f", {in_words(life['left'])} left"
        say(f"lately:   {life['fraction']:.0%}, {life['what']}{left}")
        say(f"heard of: {in_words(max(life['age'], 0.1))} ago, as process {life['process']} of {life['host']}")
    show_stages(found["stages"])
    show_priors(found["priors"])
    say(f"next:     {found['next']}")
