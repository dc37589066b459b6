"""What commands that fit have in common: Ctrl-C and going on, the report and the scores at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Interrupted", "finish", "resumable"]


class Interrupted(Exception):
    """Ctrl-C in a run that can be resumed."""


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Turns Ctrl-C into `Interrupted`, which says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        from dichroic.run.next_step import go_on

        raise Interrupted(f"interrupted; {go_on(folder)}") from None


def finish(run: Any, report: bool, json: bool) -> int:
    """The end of a fit: the report, and the scores, by the first process."""
    from dichroic.hosts import alone, is_first

    if not is_first():
        return 0
    with alone():
        return _finish(run, report, json)


def _finish(run: Any, report: bool, json: bool) -> int:
    from dichroic.baselines import beside
    from dichroic.cli.output import print_json, show_fit, write_report
    from dichroic.run import judged, summarize

    written = write_report(run) if report else None
    found = beside(run)
    told = [*judged(run.records), *run.widths]
    doubts = [*found.reasons, *(x.sentence for x in told if x.sentence)]
    summary = {**summarize(run), "beside": [vars(c) for c in found.shown], "doubts": doubts}
    summary["report"] = written and str(written)
    print_json(summary) if json else show_fit(summary)
    return 0
