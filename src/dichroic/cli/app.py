"""The commands. Each of them parses, calls, prints."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from dichroic import __version__
from dichroic.cli.baseline import baseline
from dichroic.cli.demo import demo
from dichroic.cli.diagnose import diagnose
from dichroic.cli.environment import AllowCode, prepare
from dichroic.cli.plan import plan
from dichroic.cli.reproduce import reproduce
from dichroic.cli.resume import resume
from dichroic.cli.sample import sample
from dichroic.cli.score import score
from dichroic.cli.separate import separate
from dichroic.cli.session import Interrupted, Json

__all__ = ["app", "main"]

app = App(
    name="dichroic",
    help="Learn what each source looks like from noisy mixtures alone, and separate them with uncertainty.",
    help_epilogue="Start with: dichroic demo",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


@app.command
def check(problem: Path, *, json: Json = False, allow_code: AllowCode = False) -> int:
    """Say what a problem file describes, whether its data is sound, and whether its design can be learned.

    The exit code is 3 when it cannot.

    Parameters
    ----------
    problem
        The problem file, or its folder.
    json
        Print the answer as JSON.
    allow_code
        Run the Python functions that a problem file names.
    """
    prepare(allow_code)
    from dichroic.cli.check import describe, show
    from dichroic.cli.output import print_json

    found = describe(problem)
    print_json(found) if json else show(found)
    return 3 if any(finding["level"] == "red" for finding in found["findings"]) else 0


app.command(plan)


@app.command(help_flags=(), version_flags=())
def fit(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Learn every source of a problem. A run that was started in the same folder is continued."""
    prepare()
    from dichroic.cli.fit import fit_app  # with flags for all settings, which import JAX

    return fit_app()(arguments, exit_on_error=False, print_error=True, result_action="return_value") or 0


for command in (resume, separate, sample, score, baseline, reproduce, diagnose, demo):
    app.command(command)


@app.command
def report(folder: Path, *, out: Path | None = None, allow_code: AllowCode = False) -> int:
    """Write the report of a run, one HTML file.

    Parameters
    ----------
    folder
        The run folder.
    out
        The file (default: report.html in the run folder).
    allow_code
        Run the Python functions that a problem file names.
    """
    prepare(allow_code)
    from dichroic.cli.messages import say
    from dichroic.report import report as write_report
    from dichroic.run import Run

    say(f"report: {write_report(Run(folder), out)}")
    return 0


@app.command
def doctor(*, json: Json = False) -> int:
    """Look at the installation: versions, devices, and a calculation with a known answer.

    Parameters
    ----------
    json
        Print the answer as JSON.
    """
    before = os.environ.get("XLA_FLAGS", "")
    prepare()
    from dichroic.cli.doctor import examine, show
    from dichroic.cli.output import print_json

    found = examine(before)
    print_json(found) if json else show(found)
    return 0 if found["self_test"]["passed"] else 1


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    0 when all is well; 1 for what the user can mend, said in one message; 2 for a wrong command line; 3 for a diagnosis
    that is red; 75 for a run stopped by a signal, to be resumed; 130 after Ctrl-C. Anything else is a fault of this
    program and shows its traceback.
    """
    from dichroic.cli.messages import complain, plain

    try:
        return app(arguments, exit_on_error=False, print_error=True, result_action="return_value") or 0
    except CycloptsError:
        return 2
    except (Interrupted, KeyboardInterrupt) as error:
        complain("stopped", str(error) or "interrupted")
        return 130
    except BrokenPipeError:
        # whoever read the output has gone; nothing is to be flushed to it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        complain("error", plain(error))
        return 1
    except Exception as error:
        code = _users(error)
        if code is None:
            raise
        complain("stopped" if code == 75 else "error", plain(error))
        return code


def _users(error: Exception) -> int | None:
    """The exit code for a message meant for users, None for an error of this program."""
    from dichroic.em import Diverged
    from dichroic.problem import ProblemError
    from dichroic.run import RunError, Stopped
    from dichroic.settings import SettingsError

    if isinstance(error, Stopped):
        return 75
    return 1 if isinstance(error, ProblemError | RunError | SettingsError | Diverged) else None
