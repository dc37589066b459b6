"""`dichroic report`."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.options import Conditions, Folder

__all__ = ["report"]


def report(folder: Folder, *, out: Path | None = None, conditions: Conditions | None = None) -> int:
    """Write the report of a run, one HTML file.

    Parameters
    ----------
    out
        The file (default: report.html in the run folder).
    """
    prepare(conditions)
    from dichroic.cli.messages import say
    from dichroic.report import report as write_report
    from dichroic.run import Run

    say(f"report: {write_report(Run(folder), out)}")
    return 0
