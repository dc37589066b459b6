"""`dichroic export`: results in the form of a field's files."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.messages import complain, say
from dichroic.cli.options import Conditions, Json, Overwrite

__all__ = ["export", "tell"]


def export(
    results: Path,
    out: Path,
    *,
    problem: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
    conditions: Conditions | None = None,
) -> int:
    """Write separated observations as a file of the field: .fits, .h5ad, .wav, .nc or .npz.

    Parameters
    ----------
    results
        A run folder, for its held-out observations; or a Zarr store that `dichroic separate` wrote.
    out
        The file; its suffix says the form.
    problem
        The problem file of the observations, for their headers and tables (default: that of the run).
    """
    prepare(conditions)
    from dichroic.cli.output import print_json
    from dichroic.problem import Problem, load_problem
    from dichroic.run import Run, RunFolder, Separation
    from dichroic.run import export as write

    observations: Problem | None = None if problem is None else load_problem(problem).problem
    if RunFolder(results).exists:
        run = Run(results)
        found, observations = run.separation, observations or run.held_out
    else:
        found = Separation.open(results)
    files, lost = write(found, out, observations, overwrite=overwrite)
    if json:
        print_json({"files": [str(file) for file in files], "lost": lost})
    else:
        for file in files:
            say(f"written: {file}")
    tell(out, lost)
    return 0


def tell(out: Path, lost: str) -> None:
    """Warns of what a file does not hold."""
    if lost:
        complain("warning", f"{out} does not hold {lost}, which a .zarr store does [DC401]")
