"""`dichroic resume`."""

from pathlib import Path

from dichroic.cli.environment import AllowCode, prepare
from dichroic.cli.progress import meter
from dichroic.cli.session import Json, Quiet, finish, resumable

__all__ = ["resume"]


def resume(
    folder: Path, *, report: bool = True, quiet: Quiet = False, json: Json = False, allow_code: AllowCode = False
) -> int:
    """Continue a run that was stopped.

    Parameters
    ----------
    folder
        The run folder.
    report
        Write the report at the end.
    quiet
        No progress.
    json
        Print the result as JSON.
    allow_code
        Run the Python functions that a problem file names.
    """
    prepare(allow_code)
    from dichroic.run import resume as resume_run

    with meter(quiet) as progress, resumable(folder):
        run = resume_run(folder, progress=progress)
    return finish(run, report, json)
