"""`dichroic sample`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.options import Count, Flag, Folder, Seed

__all__ = ["sample"]


def sample(
    folder: Folder,
    source: str,
    *,
    n: Annotated[Count, Parameter(name=("--n", "-n"))] = 64,
    out: Path = Path("samples.npz"),
    steps: Count = 64,
    seed: Seed = 0,
    fast: Flag = False,
) -> int:
    """Draw new samples of a source from what was learned about it.

    Parameters
    ----------
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
    fast
        In one step, by the generator that `dichroic distill` made.
    """
    prepare()
    from dichroic.cli.messages import say
    from dichroic.run import Run
    from dichroic.run.separation_files import write_npz
    from dichroic.store import claim

    claim(out, suffix=".npz")
    x = Run(folder).sample(source, n, seed=seed, steps=steps, fast=fast)
    write_npz(out, {"samples": x})
    say(f"{n} samples of '{source}', shape {x.shape}: {out}")
    return 0
