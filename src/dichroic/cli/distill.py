"""`dichroic distill`."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.options import Count, Flag, Folder, Quiet, Seed
from dichroic.cli.progress import meter

__all__ = ["distill"]


def distill(
    folder: Folder,
    *,
    source: str | None = None,
    posterior: Flag = False,
    view: str | None = None,
    out: Path | None = None,
    levels: Count = 1,
    steps: Count | None = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> int:
    """Make a generator of a prior, which draws a sample in one evaluation, or in as many as there are levels; or fast
    posteriors, and say whether they may stand in for the method of the run.

    Parameters
    ----------
    source
        Name of the source, for a generator.
    posterior
        Fast posteriors in place of a generator, for `dichroic separate --fast`.
    view
        A view, for its posterior alone (default: all of them).
    out
        A prior file to write it to, beside the one that is kept with the run.
    levels
        Evaluations of a draw: with more than one, of a stochastic denoiser.
    steps
        Steps of training (default: 4000, of posteriors 4096).
    seed
        Seed of training.
    """
    prepare()
    from dichroic.cli.messages import say
    from dichroic.onestep import OneStepConfig
    from dichroic.posterior import Fast
    from dichroic.run import Run, RunError
    from dichroic.run.distillation import distill_posterior, distill_prior
    from dichroic.store import claim

    if posterior:
        run, method = Run(folder), Fast() if steps is None else Fast(pair_steps=steps)
        with meter(quiet) as progress:
            for name in [view] if view is not None else run.problem.views:
                found = distill_posterior(
                    run,
                    name,
                    method,
                    seed=seed,
                    report=lambda what, share, name=name: progress.advance(share, f"{name}: {what}"),
                )
                why = "" if not found.refused else f", refused: {found.refused[0]}"
                say(f"posterior of view '{name}' in {method.evaluations} evaluations{why or ', accepted'}")
        return 0
    if source is None:
        raise RunError("say which prior, by --source, or --posterior")

    if out is not None:
        claim(out)
    config = OneStepConfig()
    if steps is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"steps": steps})})
    with meter(quiet) as progress:
        distill_prior(
            Run(folder),
            source,
            config,
            levels=levels,
            seed=seed,
            out=out,
            report=lambda done, total: progress.advance(done / total, "distilling"),
        )
    say(f"generator of '{source}': {out or Run(folder).folder.fast_file(source)}")
    return 0
