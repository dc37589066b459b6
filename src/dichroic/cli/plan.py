"""`dichroic plan`: the hours, memory and disk of a fit, for every preset and for the file's settings."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Conditions, Count, Flag, Json, ProblemPath, Quiet
from dichroic.cli.progress import meter

if TYPE_CHECKING:
    from dichroic.problem import ProblemFile
    from dichroic.run import Progress
    from dichroic.settings import FitConfig

__all__ = ["plan", "show", "show_trials", "try_out", "work_out"]

_OWN = "[fit]"
_CLEARLY = 0.9  # of the time: less of a gain can be noise


def plan(
    problem: ProblemPath,
    *,
    tune: Flag = False,
    slurm: Path | None = None,
    devices: Count = 1,
    quiet: Quiet = False,
    json: Json = False,
    conditions: Conditions | None = None,
) -> int:
    """Say what a fit would cost, for every preset and for the file's settings: hours, memory and disk.

    The stages in closed form are run and a few steps of all others timed on this machine, which takes some minutes.
    What a fit would refuse is said first.

    Parameters
    ----------
    tune
        In place of that, time batch sizes, precisions and routes of convolutions, and say what is fastest here.
    slurm
        A file: write a batch script of a fit with the file's settings, too.
    devices
        With --slurm: devices of the job, one task each.
    """
    prepare(conditions)
    from dichroic.cli.output import announce_device, print_json

    with meter(quiet) as progress:
        announce_device(progress)
        found = try_out(problem, progress) if tune else work_out(problem, progress)
    if slurm is not None and not tune:
        _write_batch(slurm, found, devices, conditions and conditions.memory)
    if json:
        print_json(found)
    else:
        (show_trials if tune else show)(found)
        if slurm is not None and not tune:
            say(f"\nbatch script: {slurm}, to be handed in from here with: sbatch {quote(str(slurm))}")
    return 1 if found.get("refused") else 0


def _write_batch(path: Path, found: Mapping[str, Any], devices: int, budget: str | None) -> None:
    import jax

    from dichroic.plan import batch_script
    from dichroic.run.free_folder import free_folder
    from dichroic.store import write

    own, gpu, out = found["settings"][_OWN], jax.default_backend() != "cpu", free_folder(found["title"])
    needs = own["seconds"]["total"], own["memory"] or 4e9
    write(path, batch_script(Path(found["file"]), out, *needs, devices, gpu, budget))


def work_out(path: Path, progress: "Progress") -> dict[str, Any]:
    """The estimates of all settings, what they are for, and why a fit with those of the file would be refused.

    **Raises:** `ProblemError`, `SettingsError` or `RunError`, with everything that is wrong.
    """
    from dichroic.plan import estimate_costs
    from dichroic.problem import load_problem
    from dichroic.run import Unidentified
    from dichroic.run.gate import pass_design
    from dichroic.run.mixtures import contrast_of
    from dichroic.settings import PRESETS, settle

    loaded = load_problem(path)
    configs = {name: _as_preset(name, loaded.fit) for name in PRESETS}
    configs[_OWN] = settle({}, loaded.fit)
    refused = ""
    try:
        pass_design(loaded.problem, loaded.frozen, configs[_OWN].allow_unidentified, progress.say)
    except Unidentified as error:
        refused = str(error)
        progress.say(f"a fit will be refused: {refused}")
    if (contrast := contrast_of(loaded.problem, loaded.frozen, configs[_OWN])) is not None:
        progress.say(
            f"source '{contrast.source}' is learned by the law of the mixtures; should that turn out to be no better "
            "than the Gaussian stage, laps of EM follow, which law = 'em' prices"
        )
    estimates = estimate_costs(
        loaded.problem,
        configs,
        held_out=loaded.held_out,
        frozen=loaded.frozen,
        report=lambda what: progress.say(f"timing {what}"),
        found=lambda name, e: progress.say(f"{name}: {e.laps} laps, {in_words(e.total)}"),
    )
    return _heading(loaded) | {
        "refused": refused,
        "settings": {
            name: {
                "laps": e.laps,
                "seconds": {**e.seconds, "total": e.total},
                "optimizer_steps": e.optimizer_steps,
                "evaluations": e.evaluations,
                "memory": e.memory,
                "disk": e.disk,
            }
            for name, e in estimates.items()
        },
    }


def try_out(path: Path, progress: "Progress") -> dict[str, Any]:
    """The trials of the file's settings, and what they are for.

    **Raises:** as `work_out`.
    """
    from dichroic.plan import try_settings
    from dichroic.problem import load_problem
    from dichroic.settings import settle

    loaded = load_problem(path)
    trials = try_settings(
        loaded.problem,
        settle({}, loaded.fit),
        held_out=loaded.held_out,
        frozen=loaded.frozen,
        report=lambda what: progress.say(f"timing: {what}"),
    )
    return _heading(loaded) | {"trials": [asdict(trial) for trial in trials]}


def _heading(loaded: "ProblemFile") -> dict[str, Any]:
    import jax

    return {
        "title": loaded.problem.title,
        "file": str(loaded.path),
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
    }


def _as_preset(name: str, table: Mapping[str, Any]) -> "FitConfig":
    """The settings of the file, but for those that some preset is about: these are as in this preset."""
    from dichroic.settings import PRESETS, preset, settle

    wanted, flags = preset(name).model_dump(), {}
    for settings in PRESETS.values():
        for key, value in settings.items():
            inner = {k: wanted[key][k] for k in value} if isinstance(value, dict) else None
            flags[key] = wanted[key] if inner is None else flags.get(key, {}) | inner
    return settle(flags, {**table, "preset": name})


def show(found: Mapping[str, Any]) -> None:
    """Prints it."""
    from rich.text import Text

    from dichroic.cli.output import make_table, print_table

    _say_heading(found)
    settings = found["settings"]
    phases = [phase for phase in next(iter(settings.values()))["seconds"] if phase != "total"]
    table = make_table(
        "Cost of a fit", "settings", "laps", "in all", *phases, "memory", "disk", numbers=len(phases) + 4
    )
    for name, numbers in settings.items():
        times = [in_words(numbers["seconds"][phase]) for phase in ("total", *phases)]
        sizes = [_size(numbers[kind]) for kind in ("memory", "disk")]
        table.add_row(Text(name), str(numbers["laps"]), *times, *sizes)
    print_table(table)
    say(
        "These are estimates. Times are for all laps: a fit ends a stage early when held-out data is predicted no\n"
        "better. Memory is main memory: the peak of this measurement, and the draws that a fit holds beyond it.\n"
        "Disk is the run folder at its largest, uncompressed and without the report. What presets do not set is as\n"
        "in the file."
    )
    if found["refused"]:
        say(f"\nA fit with these settings will be refused: {found['refused']}")


def show_trials(found: Mapping[str, Any]) -> None:
    """Prints the trials, and for each kind of work the settings to write down where others are clearly faster."""
    from rich.text import Text

    from dichroic.cli.output import make_table, print_table
    from dichroic.plan.tuning import as_toml

    _say_heading(found)
    works: dict[str, list[dict[str, Any]]] = {}
    for trial in found["trials"]:
        works.setdefault(trial["work"], []).append(trial)
    advice = []
    for work, trials in works.items():
        now = next((t["seconds"] for t in trials if t["current"]), None)
        table = make_table(work.capitalize(), "settings", "seconds", "against now", numbers=2)
        for trial in trials:
            seconds = trial["seconds"]
            ratio = f"{seconds / now:.2f}" if seconds and now else "-"
            name = ", ".join(as_toml(trial["settings"])) + (" (now)" if trial["current"] else "")
            table.add_row(Text(name), "out of memory" if seconds is None else f"{seconds:.3g}", ratio)
        print_table(table)
        best = min((t for t in trials if t["seconds"] is not None), key=lambda t: t["seconds"], default=None)
        if best is not None and (now is None or best["seconds"] < _CLEARLY * now):
            advice += as_toml(best["settings"])
    if advice:
        say("Faster here, to be written under [fit] in the problem file:\n  " + "\n  ".join(advice))
    else:
        say("Nothing is clearly faster here than what the settings say.")
    say("bfloat16 computes the networks with three digits: compare held-out scores before you keep it.")


def _say_heading(found: Mapping[str, Any]) -> None:
    say(f"{found['title'] or 'Untitled'}: {found['file']}\non {found['device']}\n")


def in_words(seconds: float) -> str:
    """A duration with the digits that an estimate has."""
    if seconds < 0.05:
        return "-"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(number: float | int | None) -> str:
    if number is None:
        return "unknown"
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"
