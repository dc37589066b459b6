"""`dichroic demo`."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.options import Json, Quiet, Report
from dichroic.cli.progress import meter
from dichroic.cli.session import resumable

__all__ = ["demo"]


def demo(*, out: Path = Path("runs/demo"), report: Report = True, quiet: Quiet = False, json: Json = False) -> int:
    """See it work: handwritten digits over grass, learned from their sum.

    Parameters
    ----------
    out
        The run folder.
    """
    prepare()
    from dichroic.cli.output import announce_device, print_json, show_demo, write_report
    from dichroic.studies.experiments.demo import demo as run_demo
    from dichroic.studies.experiments.demo import scores

    with meter(quiet) as progress, resumable(out):
        announce_device(progress)
        run = run_demo(out, progress)
        progress.advance(0.99, "scores")
        table = scores(run)
    written = write_report(run) if report else None
    if json:
        print_json({"folder": str(out), "report": written and str(written), "psnr": table})
    else:
        show_demo(table, out, written)
    return 0
