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
        A Zarr store with all draws; .npz, .fits, .h5ad, .wav or .nc hold means, standard deviations and what the
        view shows too, with the headers, names and units of the data.
    draws
        Posterior draws of every observation.
    seed
        Seed of the draws.
    """
    prepare(allow_code)
    from dichroic.cli.export import tell
    from dichroic.cli.messages import complain, say
    from dichroic.cli.output import print_json, show_views
    from dichroic.problem import load_problem
    from dichroic.run import Run, export
    from dichroic.run.export import check_form, streams
    from dichroic.run.summary import view_scores

    run = Run(folder)
    observations = run.problem if problem is None else load_problem(problem).problem
    check_form(out, observations, overwrite)
    if run.latest[1]:
        complain("warning", f"separating with the priors of {run.latest[1]}")
    with meter(quiet) as progress:
        result = run.separate(
            observations,
            draws=draws,
            seed=seed,
            out=out if streams(out) else None,
            overwrite=overwrite,
            report=lambda done, total: progress.advance(done / total, "separating"),
        )
    files, lost = ([out], "") if streams(out) else export(result, out, observations, overwrite=overwrite)
    views = view_scores(result, observations)
    if json:
        print_json({"out": str(out), "draws": draws, "views": views})
    else:
        show_views("Separated", views)
        for file in files:
            say(f"draws: {file}" if streams(out) else f"written: {file}")
    tell(out, lost)
    return 0
