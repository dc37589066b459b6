"""Tables of what was found."""

import json
import math
from collections.abc import Mapping, Sequence
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dichroic.cli.messages import complain, plain, say

__all__ = [
    "announce_device",
    "make_table",
    "print_json",
    "print_table",
    "show_beside",
    "show_demo",
    "show_fit",
    "show_views",
    "write_report",
]

_SAME = 0.005  # dB


def print_json(content: Any) -> None:
    """One JSON value; numbers that are not finite become null, which every reader understands."""
    print(json.dumps(_finite(content), indent=1))


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float | np.floating):
        return float(content) if math.isfinite(content) else None
    return int(content) if isinstance(content, np.integer) else content


def write_report(run: Any) -> Path | None:
    """The report of a run in its folder; None, with a warning, where nothing can be written: all else can be read."""
    from dichroic.report import report

    try:
        return report(run)
    except OSError as error:
        if error.errno not in (EACCES, EPERM, EROFS):
            raise
        complain("warning", f"no report: {plain(error)}")
        return None


def make_table(title: str, *columns: str, numbers: int = 0) -> Table:
    """A table; the last `numbers` columns are flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    table.min_width = min(len(title), 78)  # a title is not broken for being longer than its table
    for i, column in enumerate(columns):
        right = i >= len(columns) - numbers
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def print_table(table: Table) -> None:
    """Prints a table as wide as it needs to be where there is no terminal that it has to fit."""
    # names, units and titles are the user's: what looks like markup or an emoji in them is none
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=200, markup=False, emoji=False)
    console.print(table, highlight=False)
    console.print()


def announce_device(progress: Any) -> None:
    """Says what the run computes on, and loudly when that is no GPU."""
    import jax

    devices = jax.devices()
    if devices[0].platform == "cpu":
        progress.say("NO GPU FOUND: computing on the CPU, slowly for images. `dichroic doctor` says what is missing")
    else:
        progress.say(f"computing on {len(devices)} x {devices[0].device_kind}")


def show_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    """The stages of a fit, where it has had any."""
    if not stages:
        return
    table = make_table("Stages", "stage", "laps", "best lap", "score", "at the start", numbers=4)
    for stage in stages:
        scores = (f"{stage[key]:.4g}" if key in stage else "" for key in ("score", "first_score"))
        table.add_row(stage["stage"], str(stage["laps"]), str(stage["best_lap"]), *scores)
    print_table(table)


def show_priors(priors: Sequence[Mapping[str, Any]]) -> None:
    """Which prior of every source is used, and by how many standard errors the data are nearer to what was tried."""
    if not any(choice["tried"] for choice in priors):
        return
    table = make_table("Priors", "source", "used", "tried", "standard errors, by view", "what was tried is")
    for c in priors:
        errors = ", ".join(f"{found['errors']:+.1f} {view}" for view, found in c["proof"].items())
        table.add_row(c["source"], c["prior"], c["tried"], errors, c["reading"])
    print_table(table)


def show_fit(summary: Mapping[str, Any]) -> None:
    """The end of a fit."""
    show_stages(summary["stages"])
    show_priors(summary["priors"])
    if summary["held_out"]:
        show_views("Held-out observations", summary["held_out"])
    show_law(summary.get("law", []))
    show_beside(summary.get("beside", []), summary.get("doubts", []))
    say(f"run:    {summary['folder']}")
    if summary.get("report"):
        say(f"report: {summary['report']}")


def show_law(judged: Sequence[Mapping[str, Any]]) -> None:
    """How well the data are told from what the priors make."""
    if judged:
        title = "Data told from simulations (AUC)"
        table = make_table(title, "view", "these priors", "closed form", numbers=2)
        for j in judged:
            numbers = (f"{j[key]:.2f} ± {j[error]:.2f}" for key, error in (("area", "error"), ("first", "first_error")))
            table.add_row(j["view"], *numbers)
        print_table(table)


def show_beside(comparisons: Sequence[Mapping[str, Any]], doubts: Sequence[str]) -> None:
    """The simple answers beside the result, where the truth is known, and what is to be said of those that beat it."""
    if comparisons:
        title = "Beside what one would have without this fit (PSNR of all together, dB)"
        table = make_table(title, "view", "source", "simple answer", "its", "ours", numbers=2)
        for c in comparisons:
            source = f"{c['source']}, as seen" if c["seen"] else c["source"]
            table.add_row(c["view"], source, c["title"], f"{c['theirs']:.2f}", f"{c['ours']:.2f}")
        print_table(table)
    for doubt in doubts:
        complain("look closer", doubt)


def show_views(title: str, views: Mapping[str, Mapping[str, Any]]) -> None:
    """Scores of separated observations."""
    scored = [(s, psnr) for numbers in views.values() for s, psnr in numbers.get("psnr", {}).items()]
    # an operator that only scales leaves a source as it is
    kinds = {s: ("mean", "draw") for s, _ in scored}
    kinds |= {s: ("mean", "draw", "seen") for s, x in scored if abs(x.get("seen", x["mean"]) - x["mean"]) > _SAME}
    columns = [f"{s}, {'as seen' if kind == 'seen' else kind} (dB)" for s, of in kinds.items() for kind in of]
    table = make_table(title, "view", "observations", "chi²", "diverged", *columns, numbers=3 + len(columns))
    for name, numbers in views.items():
        psnr = numbers.get("psnr", {})
        scores = [f"{psnr[s][kind]:.2f}" if kind in psnr.get(s, {}) else "" for s, of in kinds.items() for kind in of]
        table.add_row(
            name, str(numbers["observations"]), f"{numbers['chi_square']:.3f}", f"{numbers['diverged']:.1%}", *scores
        )
    print_table(table)
    shares = [share for numbers in views.values() for share in numbers.get("monte_carlo", {}).values()]
    if shares:
        most = f"up to {max(shares):.1%} of their squared error is due to the number of draws"
        say(f"posterior means: {most if max(shares) else 'exact'}")


def show_demo(table: Mapping[str, Mapping[str, float]], folder: Path, report: Path | None) -> None:
    """The scores of the demo."""
    shown = make_table("PSNR of held-out digits (dB)", "method", "posterior mean", "single draw", numbers=2)
    for method, numbers in table.items():
        shown.add_row(method, *(f"{numbers[kind]:.2f}" if kind in numbers else "" for kind in ("mean", "draw")))
    print_table(shown)
    say(f"run:    {folder}")
    if report:
        say(f"report: {report}")
