"""`dichroic separate`, whose flags of methods are made from their settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.flags import flags_of, given
from dichroic.cli.options import Count, Flag, Hosts, Json, Overwrite, Quiet, Seed
from dichroic.cli.progress import meter

__all__ = ["doubts", "separate_app"]

_MORE = 0.2  # of chi-square per value beyond 1 that is worth a sentence

Source = Annotated[Path, Parameter(help="The run folder, or a problem file that says the priors of all its sources.")]


def separate_app() -> App:
    """The command, with a flag for every setting of every method that there is when this is called."""
    from dichroic.settings import Drawing

    Flags = Parameter(name="*")(flags_of(Drawing))
    app = App(name="dichroic separate", suppress_keyboard_interrupt=False, version_flags=())

    @app.default
    def separate(
        folder: Source,
        problem: Path | None = None,
        *,
        out: Path = Path("separated.zarr"),
        draws: Count = 8,
        seed: Seed = 0,
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        json: Json = False,
        fast: Flag = False,
        conditions: Hosts | None = None,
        settings: Flags | None = None,  # pyright: ignore
    ) -> int:
        """Draw the sources of observations from their posterior, with the priors of a run or of a problem file.

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
        fast
            By the posteriors that `dichroic distill --posterior` made, where they may stand in: --sampling.kind fast.
        """
        prepare(conditions)
        from dichroic.cli.export import tell
        from dichroic.cli.messages import complain, say
        from dichroic.cli.output import print_json, show_views
        from dichroic.hosts import is_first
        from dichroic.posterior import separation_key
        from dichroic.problem import load_problem
        from dichroic.run import Run, RunFolder, complete_priors, export
        from dichroic.run import separate as separate_problem
        from dichroic.run.export import check_form, streams
        from dichroic.run.summary import view_scores
        from dichroic.settings import settle_drawing

        flags = given(settings) if settings is not None else {}
        if fast:
            flags["sampling"] = {"kind": "fast"}
        run = Run(folder) if problem is not None or RunFolder(folder).exists or not folder.exists() else None
        if run is None:
            loaded = load_problem(folder)
            observations, priors = loaded.problem, complete_priors(loaded.frozen, loaded.problem)
            drawing = settle_drawing(flags, loaded.fit)
            method, share = drawing.sampling, drawing.mean_share
        else:
            observations = run.problem if problem is None else load_problem(problem).problem
            drawing = settle_drawing(flags, run.config.model_dump(include={"sampling", "mean_share"}))
            # said anew, a method takes the place of what was learned for a view as well
            method, share = drawing.sampling if "sampling" in flags else None, drawing.mean_share
            if run.latest[1]:
                complain("warning", f"separating with the priors of {run.latest[1]}")
        check_form(out, observations, overwrite)
        with meter(quiet) as progress:
            how = {
                "draws": draws,
                "sampling": method,
                "share": share,
                "out": out if streams(out) else None,
                "overwrite": overwrite,
                "report": lambda done, total: progress.advance(done / total, "separating"),
            }
            if run is None:
                result = separate_problem(observations, priors, key=separation_key(seed), **how)
            else:
                result = run.separate(observations, seed=seed, **how)
        if not is_first():
            return 0
        files, lost = ([out], "") if streams(out) else export(result, out, observations, overwrite=overwrite)
        views = view_scores(result, observations)
        measured = [] if run is None or method is not None else run.widths
        found = doubts(views, {name: view.y.size for name, view in observations.views.items()}, measured)
        if json:
            print_json({"out": str(out), "draws": draws, "views": views, "doubts": found})
        else:
            show_views("Separated", views)
            for doubt in found:
                complain("look closer", doubt)
            for file in files:
                say(f"draws: {file}" if streams(out) else f"written: {file}")
        tell(out, lost)
        return 0

    return app


def doubts(views: Mapping[str, Mapping[str, Any]], values: Mapping[str, int], widths: Sequence[Any] = ()) -> list[str]:
    """A sentence for every view whose residuals are larger than its noise, or whose learned posterior draws a source
    too narrow.

    **Arguments:** `values`, how many of them a view has; `widths`, of learned posteriors (`dichroic.run.Widths`).
    """
    larger = [
        f"view '{name}': squared residuals are {numbers['chi_square']:.2f} times what the stated noise allows: these "
        "observations hold what the priors have not learned, or their noise is larger"
        for name, numbers in views.items()
        if numbers["chi_square"] > 1 + max(_MORE, 5 * (2 / values[name]) ** 0.5)
    ]
    return [*larger, *(w.sentence for w in widths if w.view in views)]
