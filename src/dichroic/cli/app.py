"""The commands. Each of them parses, calls, prints."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from dichroic import __version__
from dichroic.cli.baseline import baseline
from dichroic.cli.diagnose import diagnose
from dichroic.cli.environment import AllowCode, prepare
from dichroic.cli.plan import plan
from dichroic.cli.progress import meter
from dichroic.cli.reproduce import reproduce
from dichroic.cli.score import score
from dichroic.cli.settings import FitFlags, SettingsError, settle

__all__ = ["app", "main"]

Json = Annotated[bool, Parameter(negative="")]
Quiet = Annotated[bool, Parameter(name=("--quiet", "-q"), negative="")]
Seed = Annotated[int, Parameter()]

app = App(
    name="dichroic",
    help="Learn what each source looks like from noisy mixtures alone, and separate them with uncertainty.",
    help_epilogue="Start with: dichroic demo",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


class _Interrupted(Exception):
    """Ctrl-C in a run that can be resumed."""


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


@app.command
def fit(
    problem: Path,
    *,
    out: Path | None = None,
    preset: Literal["draft", "standard", "final", "diem", "ddprism", "ddprism-gibbs"] | None = None,
    report: bool = True,
    quiet: Quiet = False,
    json: Json = False,
    allow_code: AllowCode = False,
    settings: FitFlags | None = None,
) -> int:
    """Learn every source of a problem. A run that was started in the same folder is continued.

    Flags come before the table [fit] of the problem file, that before the preset.

    Parameters
    ----------
    problem
        The problem file, or its folder.
    out
        The run folder (default: a new one under runs/).
    preset
        How much work: draft for a first look, standard, or final; or the settings of a published method, such as diem.
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
    from dichroic.cli.output import announce_device
    from dichroic.problem import load_problem
    from dichroic.run import RunFolder
    from dichroic.run import fit as fit_problem
    from dichroic.run.fit import fresh_folder

    loaded = load_problem(problem)
    given = settings.given() if settings is not None else {}
    config = settle(given, loaded.fit, preset)
    folder = out if out is not None else fresh_folder(loaded.problem)
    # a run that was started with flags goes on with them, without their being said again
    going_on = RunFolder(folder).exists and not given and preset is None
    with meter(quiet) as progress, _resumable(folder):
        announce_device(progress)
        if going_on and config != RunFolder(folder).config():
            progress.say("going on with the settings that the run was started with")
        run = fit_problem(
            loaded.problem,
            None if going_on else config,
            out=folder,
            held_out=loaded.held_out,
            frozen=loaded.frozen,
            progress=progress,
            source_file=loaded.path,
        )
    return _finish(run, report, json)


@app.command
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

    with meter(quiet) as progress, _resumable(folder):
        run = resume_run(folder, progress=progress)
    return _finish(run, report, json)


@app.command
def separate(
    folder: Path,
    problem: Path | None = None,
    *,
    out: Path = Path("separated.zarr"),
    draws: int = 8,
    seed: Seed = 0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
    allow_code: AllowCode = False,
) -> int:
    """Draw the sources of observations from their posterior, with the priors of a run.

    Parameters
    ----------
    folder
        The run folder.
    problem
        The observations, as a problem file with sources of the run (default: those the run learned from).
    out
        A Zarr store with all draws; or an .npz file with their mean and standard deviation too.
    draws
        Posterior draws of every observation.
    seed
        Seed of the draws.
    overwrite
        Replace what is there.
    quiet
        No progress.
    json
        Print the result as JSON.
    allow_code
        Run the Python functions that a problem file names.
    """
    prepare(allow_code)
    from dichroic.cli.messages import say
    from dichroic.cli.output import print_json, show_views
    from dichroic.problem import load_problem
    from dichroic.run import Run
    from dichroic.run.separation import check_free, write_npz
    from dichroic.run.summary import view_scores

    run = Run(folder)
    check_free(out, overwrite)
    observations = None if problem is None else load_problem(problem).problem
    with meter(quiet) as progress:
        result = run.separate(
            observations,
            draws=draws,
            seed=seed,
            out=None if out.suffix == ".npz" else out,
            overwrite=overwrite,
            report=lambda done, total: progress.advance(done / total, "separating"),
        )
    if out.suffix == ".npz":
        write_npz(out, result.arrays())
    views = view_scores(result, observations or run.problem)
    if json:
        print_json({"out": str(out), "draws": draws, "views": views})
    else:
        show_views("Separated", views)
        say(f"draws: {out}")
    return 0


@app.command
def sample(
    folder: Path,
    source: str,
    *,
    n: Annotated[int, Parameter(name=("--n", "-n"))] = 64,
    out: Path = Path("samples.npz"),
    steps: int = 64,
    seed: Seed = 0,
) -> int:
    """Draw new samples of a source from what was learned about it.

    Parameters
    ----------
    folder
        The run folder.
    source
        Name of the source.
    n
        Number of samples.
    out
        An .npz file, with the array "samples".
    steps
        Sampling steps.
    seed
        Seed of the samples.
    """
    prepare()
    from dichroic.cli.messages import say
    from dichroic.run import Run
    from dichroic.run.separation import write_npz
    from dichroic.store import claim

    claim(out)
    x = Run(folder).sample(source, n, seed=seed, steps=steps)
    write_npz(out, {"samples": x})
    say(f"{n} samples of '{source}', shape {x.shape}: {out}")
    return 0


app.command(score)
app.command(baseline)
app.command(reproduce)
app.command(diagnose)


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
def demo(*, out: Path = Path("runs/demo"), report: bool = True, quiet: Quiet = False, json: Json = False) -> int:
    """See it work: handwritten digits over grass, learned from their sum.

    Parameters
    ----------
    out
        The run folder.
    report
        Write the report at the end.
    quiet
        No progress.
    json
        Print the scores as JSON.
    """
    prepare()
    from dichroic.cli.output import announce_device, print_json, show_demo, write_report
    from dichroic.studies.experiments.demo import demo as run_demo
    from dichroic.studies.experiments.demo import scores

    with meter(quiet) as progress, _resumable(out):
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
    except (_Interrupted, KeyboardInterrupt) as error:
        complain("stopped", str(error) or "interrupted")
        return 130
    except BrokenPipeError:
        # whoever read the output has gone; nothing is to be flushed to it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SettingsError, OSError) as error:
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

    if isinstance(error, Stopped):
        return 75
    return 1 if isinstance(error, ProblemError | RunError | Diverged) else None


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise _Interrupted(f"interrupted; continue with: dichroic resume {folder}") from None


def _finish(run: Any, report: bool, json: bool) -> int:
    """The end of a fit: the report, and the scores."""
    from dichroic.cli.output import print_json, show_fit, write_report
    from dichroic.run import summarize

    written = write_report(run) if report else None
    summary = {**summarize(run), "report": written and str(written)}
    print_json(summary) if json else show_fit(summary)
    return 0
