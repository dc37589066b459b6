"""`dichroic diagnose`: is the result good, without a known truth."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.options import Count, Folder, Hosts, Json, Quiet, Seed
from dichroic.cli.progress import meter

__all__ = ["diagnose"]

_COLOURS = {"green": "green", "amber": "yellow", "red": "bold red"}
_RED = 3  # the exit code


def diagnose(
    folder: Folder,
    problem: Path | None = None,
    *,
    check: Annotated[list[str] | None, Parameter(negative="")] = None,
    observations: Count | None = None,
    sbc: str | None = None,
    fission: str | None = None,
    leakage: str | None = None,
    maps: str | None = None,
    seed: Seed = 0,
    report: bool = True,
    quiet: Quiet = False,
    json: Json = False,
    conditions: Hosts | None = None,
) -> int:
    """Examine what a run has learned, on observations it has not seen: is the result to be trusted?

    Ends with exit code 3 when a check is red. What is done already is not done again: stop it at any moment, and say
    the same to go on.

    Parameters
    ----------
    problem
        Other observations of the same sources, as a problem file (default: those held out by the fit).
    check
        Only this check; may be given several times.
    observations
        Held-out observations per view, at most.
    sbc
        Simulated observations and draws of each, such as 256x63.
    fission
        Observations that are split in two, and draws of each, such as 512x31.
    leakage
        Injections and draws of each, such as 256x15.
    maps
        Observations and draws of each for the maps, such as 128x32.
    seed
        Seed of all draws.
    report
        Write the report anew, with what was found.
    """
    prepare(conditions)
    from dataclasses import replace

    from dichroic.baselines import Beside, beside
    from dichroic.cli.check import show_findings
    from dichroic.cli.messages import say
    from dichroic.cli.output import print_json, show_beside, write_report
    from dichroic.diagnose import Budget
    from dichroic.hosts import alone, is_first
    from dichroic.problem import load_problem
    from dichroic.run import Run
    from dichroic.run.diagnosis import diagnose as examine

    pairs = {"sbc": sbc, "fission": fission, "leakage": leakage, "maps": maps}
    work: dict[str, Any] = {name: _pair(name, text) for name, text in pairs.items() if text is not None}
    if observations is not None:
        work["observations"] = observations
    run = Run(folder)
    others = None if problem is None else load_problem(problem).problem
    with meter(quiet) as progress:
        found = examine(run, others, budget=Budget(**work, seed=seed), checks=check, progress=progress)
    if not is_first():
        return _RED if found.verdict.level == "red" else 0
    with alone():
        simple = beside(run) if others is None else Beside({}, [])
        found = replace(found, verdict=found.verdict.doubted(simple.reasons))
        written = write_report(run) if report else None
    design = run.folder.design()
    unseen = [] if design is None else [vars(finding) for finding in design.findings() if finding.level != "green"]
    if json:
        print_json({**as_json(found, folder, written), "design": unseen, "beside": [vars(c) for c in simple.shown]})
    else:
        show(found)
        show_beside([vars(c) for c in simple.shown], ())
        if unseen:
            say("What no check of data can see is what the design of the observations leaves open:")
            show_findings(unseen)
        say(f"results: {folder / 'diagnose'}")
        if written:
            say(f"report:  {written}")
    return _RED if found.verdict.level == "red" else 0


def _pair(name: str, text: str) -> tuple[int, int]:
    from dichroic.settings import SettingsError

    first, _, second = text.lower().partition("x")
    if not (first.isdigit() and second.isdigit() and int(first) and int(second)):
        raise SettingsError(f"--{name}: expected observations x draws, such as 256x63, got '{text}'")
    return int(first), int(second)


def as_json(found: Any, folder: Path, report: Path | None) -> dict[str, Any]:
    """Everything a script would read."""
    from dichroic.diagnose.codes import code_of

    checks = {}
    for name, result in found.results.items():
        alarms = [
            {"code": code_of(name, p), "where": p.where, "what": p.what, "value": p.value, "expected": p.expected}
            | {"p": p.p}
            for p in result.alarms
        ]
        numbers = {"level": result.level, "p": result.p, "observations": result.observations, "draws": result.draws}
        checks[name] = {**numbers, "alarms": alarms, "notes": [vars(note) for note in result.notes]}
    causes = [vars(cause) for cause in found.verdict.causes]
    verdict = {"level": found.verdict.level, "label": found.verdict.label, "causes": causes}
    verdict["reasons"] = list(found.verdict.reasons)
    return {"folder": str(folder), "report": report and str(report), "verdict": verdict, "checks": checks}


def show(found: Any) -> None:
    """Prints the verdict first, then the panel, then what is loud in it."""
    from rich.console import Console
    from rich.text import Text

    from dichroic.cli.output import make_table, print_table
    from dichroic.diagnose import CHECKS

    console, verdict = Console(), found.verdict
    console.print(Text(f"{verdict.label} ({verdict.level})", style=_COLOURS[verdict.level]))
    for cause in verdict.causes:
        console.print(f"{cause.code}: probably {cause.cause}", soft_wrap=True, highlight=False, markup=False)
        console.print(f"       next: {cause.action}\n", soft_wrap=True, highlight=False, markup=False)
    for reason in verdict.reasons:
        console.print(f"look closer: {reason}\n", soft_wrap=True, highlight=False, markup=False)
    table = make_table("Checks", "check", "level", "p", "observations", "question", numbers=0)
    for name, result in found.results.items():
        level = Text(result.level, style=_COLOURS[result.level])
        p = f"{result.p:.2g}" if CHECKS[name].judges else ""
        table.add_row(name, level, p, str(result.observations), CHECKS[name].question)
    print_table(table)
    for name, result in found.results.items():
        for line in lines(name, result):
            console.print(line, soft_wrap=True, highlight=False, markup=False)


def lines(name: str, result: Any) -> list[str]:
    """What is loud in a check, and its notes, in words."""
    from dichroic.diagnose.codes import CODES, code_of

    told = {code_of(name, part): part for part in reversed(result.alarms)}
    found = []
    for code, part in sorted(told.items()):
        numbers = f"{part.what} {part.value:.3g}, expected {part.expected:.3g}"
        found.append(f"{code} {name}, {part.where}: {CODES[code].lower()} ({numbers})")
    return found + [f"{note.code} {note.where}: {note.text}" for note in result.notes]
