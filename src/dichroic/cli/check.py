"""`dichroic check`: the problem as it was understood, its design, and what looks odd in either."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Conditions, Json, ProblemPath, Quiet
from dichroic.cli.progress import meter

__all__ = ["check", "describe", "show", "show_findings"]

_STYLES = {"red": "bold red", "amber": "bold yellow", "green": "dim"}


def check(
    problem: ProblemPath,
    *,
    quiet: Quiet = False,
    json: Json = False,
    conditions: Conditions | None = None,
) -> int:
    """Say what a problem file describes, whether its data is sound, and whether its design can be learned.

    The exit code is 3 when it cannot.
    """
    prepare(conditions)
    from dichroic.cli.output import print_json

    with meter(quiet) as progress:
        found = describe(problem, progress.advance)
    print_json(found) if json else show(found)
    return 3 if any(finding["level"] == "red" for finding in found["findings"]) else 0


def describe(path: Path, report: Callable[[float, str], None] = lambda *_: None) -> dict[str, Any]:
    """The problem in a file, checked: its data, its design, its settings, its known priors and the order of its stages.

    **Arguments:** `report(share, what)` is called before every part.

    **Raises:** `ProblemError`, `SettingsError` or `RunError`, with everything that is wrong.
    """
    from dichroic.design.beforehand import check_beforehand
    from dichroic.design.data import check_data, spread_over_noise
    from dichroic.design.finding import worst_first
    from dichroic.design.instrument import check_instrument
    from dichroic.design.report import check_design
    from dichroic.em import make_plan
    from dichroic.problem import Problem, describe_source, load_problem
    from dichroic.problem.portion import portion
    from dichroic.report.describe import in_words, missing_share, noise_in_words
    from dichroic.run.known import known_priors
    from dichroic.settings import settle

    report(0.0, "reading the files")
    loaded = load_problem(path)
    problem, held_out = loaded.problem, loaded.held_out
    problem.require_noise("the examination of a design")
    config = settle({}, loaded.fit)
    known = known_priors(loaded.frozen, problem)
    plan = make_plan(problem, config.plan, known)
    other = held_out if isinstance(held_out, Problem) else None
    some = portion(problem)
    report(0.1, "examining the design")
    design = check_design(some, known)
    instrument = check_instrument(some, known)
    judged = [finding for found in (design, instrument) if found is not None for finding in found.findings()]
    report(0.6, "examining what is said of the sources")
    about_design = [*judged, *check_beforehand(some, known)]
    report(0.9, "examining the data")
    return {
        "title": problem.title,
        "file": str(loaded.path),
        "sources": {
            s: {**describe_source(source), "views": problem.views_of(s), "known": s in known}
            for s, source in problem.sources.items()
        },
        "views": {
            name: {
                "observations": len(view),
                "shape": list(view.event_shape),
                "complex": view.y.dtype.kind == "c",
                "missing": missing_share(some.views[name]),
                "noise": noise_in_words(some.views[name]),
                "spread_over_noise": spread_over_noise(some.views[name]) if len(view) > 1 else None,
                "mixing": {s: in_words(operator) for s, operator in view.mixing.items()},
            }
            for name, view in problem.views.items()
        },
        "held_out": (
            {name: len(view) for name, view in held_out.views.items()}
            if isinstance(held_out, Problem)
            else config.held_out
            if held_out is None
            else held_out
        ),
        "stages": [{"stage": stage.name, "learns": stage.learn, "from": stage.views} for stage in plan],
        "design": None if design is None else design.summary(),
        "instrument": None if instrument is None else instrument.summary(),
        "findings": [vars(finding) for finding in worst_first([*check_data(some, other), *about_design])],
    }


def show(found: Mapping[str, Any]) -> None:
    """Prints it."""
    from dichroic.cli.output import make_table, print_table

    say(f"{found['title'] or 'Untitled'}: {found['file']}\n")
    table = make_table("Sources", "source", "shape", "unit", "in the views", "")
    for name, source in found["sources"].items():
        status = "known" if source["known"] else "to be learned"
        kind = "complex " if "dtype" in source else ""
        status = "; ".join([status, *_said(source)])
        table.add_row(name, kind + _shape(source["shape"]), source["unit"], ", ".join(source["views"]), status)
    print_table(table)
    table = make_table("Views", "view", "observations", "shape", "missing", "noise", "spread / noise", "mixture")
    for name, view in found["views"].items():
        mixture = " + ".join(f"{s} ({words})" for s, words in view["mixing"].items())
        spread = "" if view["spread_over_noise"] is None else f"{view['spread_over_noise']:.3g}"
        kind = "complex " if view["complex"] else ""
        row = (str(view["observations"]), kind + _shape(view["shape"]), f"{view['missing']:.1%}", view["noise"], spread)
        table.add_row(name, *row, mixture)
    print_table(table)
    held_out = found["held_out"]
    if isinstance(held_out, Mapping):
        held_out = ", ".join(f"{n} of '{view}'" for view, n in held_out.items())
    else:
        held_out = f"{held_out:.0%} of every view"
    say(f"held out: {held_out}")
    say(
        "stages:   "
        + "; ".join(f"{', '.join(s['learns'])} from {', '.join(s['from'])}" for s in found["stages"])
        + "\n"
    )
    if found["design"] is not None:
        _show_design(found["design"], list(found["sources"]))
    show_findings(found["findings"])


def _show_design(design: Mapping[str, Any], sources: Sequence[str]) -> None:
    """What the design says about the populations, and what one observation says about each source."""
    from dichroic.cli.output import make_table, print_table

    table = make_table("Design", "populations", "condition", "undetermined", "unknowns", "computed", numbers=0)
    for order in ("means", "covariances"):
        row = design[order]
        bound = "" if row["exact"] or order != "means" else "> "
        condition = "infinite" if row["null"] else f"{bound}{row['condition']:.3g}"
        table.add_row(order, condition, str(row["null"]), str(row["unknowns"]), row["route"])
    print_table(table)
    if design["contraction"]:
        table = make_table("One observation tells about", "view", *sources, numbers=len(sources))
        for view, shares in design["contraction"].items():
            table.add_row(view, *(f"{shares[s]:.0%}" if s in shares else "" for s in sources))
        print_table(table)


def show_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """One line per finding, the level in its colour; without red and amber ones, that all looks sound."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if all(finding["level"] == "green" for finding in findings):
        say("The data looks sound.")
    for finding in findings:
        text = Text(f"{finding['level']}: ", style=_STYLES[finding["level"]])
        code = f" [{finding['code']}]" if finding["code"] else ""
        text.append(f"{finding['where']}: {finding['text']}{code}", style="not bold")
        console.print(text, soft_wrap=True, highlight=False)


def _said(source: Mapping[str, Any]) -> list[str]:
    """What is said of a source beforehand."""
    low, high = source.get("range", (None, None))
    ends = [f"{sign} {end:g}" for sign, end in (("≥", low), ("≤", high)) if end is not None]
    return [", ".join(words) for words in (source.get("symmetry", []), ends) if words]


def _shape(shape: list[int]) -> str:
    return " x ".join(str(side) for side in shape)
