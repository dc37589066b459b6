"""`dichroic distill`."""

from pathlib import Path

from dichroic.cli.environment import prepare
from dichroic.cli.options import Folder, Quiet
from dichroic.cli.progress import meter

__all__ = ["distill"]


def distill(
    folder: Folder,
    *,
    source: str,
    out: Path | None = None,
    levels: int = 1,
    steps: int | None = None,
    seed: int = 0,
    quiet: Quiet = False,
) -> int:
    """Make a generator of a prior, which draws a sample in one evaluation, or in as many as there are levels.

    Parameters
    ----------
    source
        Name of the source.
    out
        A prior file to write it to, beside the one that is kept with the run.
    levels
        Evaluations of a draw: with more than one, of a stochastic denoiser.
    steps
        Steps of training (default: 4000).
    seed
        Seed of training.
    """
    prepare()
    from dichroic.cli.messages import say
    from dichroic.onestep import OneStepConfig
    from dichroic.run import Run
    from dichroic.run.distillation import distill_prior
    from dichroic.store import claim

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
