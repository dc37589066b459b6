"""`dichroic separate`."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.options import AllowCode, Folder, Json, Overwrite, Quiet
from dichroic.cli.progress import meter

__all__ = ["separate"]


def separate(
    folder: Folder,
    problem: Path | None = None,
    *,
    out: Path = Path("separated.zarr"),
    draws: int = 8,
    seed: int = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
    allow_code: AllowCode = False,
) -> int:
    """Draw the sources of observations from their posterior, with the priors of a run.

    Parameters
    ----------
    problem
        The observations, as a problem file with sources of the run (default: those the run learned from).
    out
        A Zarr store with all draws; or an .npz file with their mean and standard deviation too.
    draws
        Posterior draws of every observation.
    seed
        Seed of the draws.
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
