"""`dichroic resume`."""

from dichroic.cli.environment import prepare
from dichroic.cli.options import Folder, Hosts, Json, Quiet, Report, Track
from dichroic.cli.progress import meter
from dichroic.cli.session import finish, resumable

__all__ = ["resume"]


def resume(
    folder: Folder,
    *,
    report: Report = True,
    quiet: Quiet = False,
    json: Json = False,
    conditions: Hosts | None = None,
    track: Track = (),
) -> int:
    """Continue a run that was stopped."""
    prepare(conditions)
    from dichroic.run import resume as resume_run

    with meter(quiet) as progress, resumable(folder):
        run = resume_run(folder, progress=progress, track=track)
    return finish(run, report, json)
