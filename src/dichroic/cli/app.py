"""The commands. Each of them parses, calls, prints."""

import os
import re
import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from dichroic import __version__
from dichroic.cli.baseline import baseline
from dichroic.cli.check import check
from dichroic.cli.compare import compare
from dichroic.cli.demo import demo
from dichroic.cli.diagnose import diagnose
from dichroic.cli.distill import distill
from dichroic.cli.doctor import doctor
from dichroic.cli.environment import prepare
from dichroic.cli.export import export
from dichroic.cli.init import init
from dichroic.cli.plan import plan
from dichroic.cli.report import report
from dichroic.cli.reproduce import reproduce
from dichroic.cli.resume import resume
from dichroic.cli.sample import sample
from dichroic.cli.score import score
from dichroic.cli.session import Interrupted
from dichroic.cli.status import status

__all__ = ["app", "main"]

app = App(
    name="dichroic",
    help="Learn what each source looks like from noisy mixtures alone, and separate them with uncertainty.",
    help_epilogue="Start with: dichroic demo",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


@app.command(help_flags=(), version_flags=())
def fit(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Learn every source of a problem. A run that was started in the same folder is continued."""
    prepare()
    from dichroic.cli.fit import fit_app  # with flags for all settings, which import JAX

    return fit_app()(arguments, exit_on_error=False, print_error=True, result_action="return_value") or 0


@app.command(help_flags=(), version_flags=())
def separate(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Draw the sources of observations from their posterior, with the priors of a run or of a problem file."""
    prepare()
    from dichroic.cli.separate import separate_app  # with flags for all methods, which import JAX

    return separate_app()(arguments, exit_on_error=False, print_error=True, result_action="return_value") or 0


for command in (
    *(baseline, check, compare, demo, diagnose, distill, doctor, export, init, plan, report, reproduce, resume),
    *(sample, score, status),
):
    app.command(command)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    0 when all is well; 1 for what the user can mend, said in one message; 2 for a wrong command line; 3 for a diagnosis
    that is red; 70 for a fault of this program, with its traceback where `DICHROIC_TRACEBACK` is set; 75 for a run
    stopped by a signal, to be resumed; 130 after Ctrl-C.
    """
    from dichroic.cli.messages import complain, plain, warnings_told

    try:
        with warnings_told():
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
        if code is not None:
            complain("stopped" if code == 75 else "error", plain(error))
            return code
        if os.environ.get("DICHROIC_TRACEBACK"):
            raise
        from dichroic.faults import first_line  # with NumPy, which help does not wait for

        if isinstance(error, MemoryError) or re.search("RESOURCE_EXHAUSTED|out of memory", str(error), re.IGNORECASE):
            complain("error", f"out of memory: {first_line(error)}")
            return 1
        complain("error", f"a fault of dichroic, not of yours ({first_line(error)}); DICHROIC_TRACEBACK=1 shows where")
        return 70


def _users(error: Exception) -> int | None:
    """The exit code for a message meant for users, None for an error of this program."""
    from dichroic.em import Diverged
    from dichroic.problem import ProblemError
    from dichroic.run import RunError, Stopped
    from dichroic.settings import SettingsError

    if isinstance(error, Stopped):
        return 75
    return 1 if isinstance(error, ProblemError | RunError | SettingsError | Diverged) else None
