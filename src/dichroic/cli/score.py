"""`dichroic score`: candidates ranked by their log-density, and those that are unlike the prior."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dichroic.cli.environment import prepare
from dichroic.cli.messages import complain, say
from dichroic.cli.options import Count, Folder, Json, Quiet, Seed
from dichroic.cli.progress import meter

if TYPE_CHECKING:
    from dichroic.run import Progress

__all__ = ["rank", "score", "show"]

_UNLIKE = 0.01  # quantile among the prior's draws below which a candidate is out of its range
_ROWS = 50


def score(
    folder: Folder,
    source: str,
    file: str,
    *,
    draws: Count = 256,
    steps: Count = 64,
    probes: Count = 8,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Rank candidates by their log-density under what was learned about a source, and say which are unlike it.

    Parameters
    ----------
    source
        Name of the source.
    file
        The candidates, samples first, in the units of the source: an .npy file, or FILE:KEY as in a problem file.
    draws
        Draws of the prior that the candidates are compared with.
    steps
        Sampling steps of these draws.
    probes
        Random probes of the log-density, where a source has many entries.
    seed
        Seed of draws and probes.
    """
    prepare()
    from dichroic.cli.output import print_json

    with meter(quiet) as progress:
        found = rank(folder, source, file, draws=draws, steps=steps, probes=probes, seed=seed, progress=progress)
    print_json(found) if json else show(found)
    return 0


def rank(
    folder: Path, source: str, file: str, *, draws: int, steps: int, probes: int, seed: int, progress: "Progress"
) -> dict[str, Any]:
    """The candidates in a file, in its order, with their log-density, its quantile among the prior's draws, and rank.

    **Raises:** `RunError` for a source that the run does not have, and for candidates that are none of its samples;
    `ProblemError` for a file that cannot be read.
    """
    import jax
    import numpy as np

    from dichroic.diffusion import rank_candidates
    from dichroic.faults import among
    from dichroic.problem import ProblemError
    from dichroic.problem.arrays import ArrayReader
    from dichroic.run import Run, RunError

    priors = Run(folder).priors
    if source not in priors:
        raise RunError(f"the run has no source '{source}'; it has {among(source, priors)}")
    for name, value, least in (("draws", draws, 1), ("steps", steps, 1), ("probes", probes, 2)):
        if value < least:
            raise RunError(f"{name}: expected at least {least}, got {value}")
    prior, x = priors[source], ArrayReader(Path.cwd()).read(file)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iuf":
        raise ProblemError([f"{file}: expected an array of real numbers, got {getattr(x, 'dtype', type(x).__name__)}"])
    x = x[None] if x.shape == prior.shape else x
    try:
        ranking = rank_candidates(
            prior,
            x,
            key=jax.random.fold_in(jax.random.key(seed), 8),
            draws=draws,
            steps=steps,
            probes=probes,
            report=lambda done, total: progress.advance(done / total, f"log-densities of '{source}'"),
        )
    except ValueError as error:
        raise RunError(f"{file}: source '{source}': {error}") from error
    found, quantile = ranking.candidates, ranking.quantile
    order = np.argsort(np.argsort(-np.where(found.solved, found.value, -np.inf), kind="stable"))
    return {
        "source": source,
        "entries": found.size,
        "draws": {
            "number": draws,
            "failed": int((~ranking.draws.solved).sum()),
            "log_density": np.nanquantile(ranking.draws.value, [0.01, 0.5, 0.99]).tolist(),
        },
        "candidates": [
            {
                "candidate": i,
                "rank": int(order[i]) + 1,
                "log_density": float(found.value[i]),
                "error": float(found.error[i]),
                "per_entry": float(found.value[i] / found.size),
                "quantile": float(quantile[i]),
                "unlike": bool(quantile[i] < _UNLIKE),
            }
            for i in range(len(x))
        ],
    }


def show(found: Mapping[str, Any]) -> None:
    """Prints it, the densest candidate first, with warnings about those that are out of the range of the prior."""
    from dichroic.cli.output import make_table, print_table

    ranked = sorted(found["candidates"], key=lambda c: c["rank"])
    table = make_table(
        f"Candidates for '{found['source']}'",
        *("rank", "candidate", "log-density (nats)", "±", "nats per entry", "quantile", ""),
        numbers=6,
    )
    table.columns[-1].justify = "left"
    for c in ranked[:_ROWS]:
        remark = "FAILED" if isnan(c["quantile"]) else "UNLIKE" if c["unlike"] else ""
        if c["quantile"] > 1 - _UNLIKE:
            remark = "denser than nearly all draws"
        numbers = (f"{c['log_density']:.3f}", f"{c['error']:.2g}", f"{c['per_entry']:.4f}", f"{c['quantile']:.3f}")
        table.add_row(str(c["rank"]), str(c["candidate"]), *numbers, remark)
    print_table(table)
    if len(ranked) > _ROWS:
        say(f"and {len(ranked) - _ROWS} more; --json prints all")
    low, middle, high = found["draws"]["log_density"]
    say(
        f"{found['draws']['number']} draws of the prior: median {middle:.3f} nats, "
        f"1 % below {low:.3f}, 1 % above {high:.3f}"
    )
    _warn(found)


def _warn(found: Mapping[str, Any]) -> None:
    unlike = [c["candidate"] for c in found["candidates"] if c["unlike"]]
    failed = [c["candidate"] for c in found["candidates"] if isnan(c["quantile"])]
    if unlike:
        share = f"{len(unlike)} of {len(found['candidates'])} candidates"
        complain(
            "warning",
            f"{share} are less dense than 99 % of the prior's own draws, so unlike '{found['source']}' as it was "
            f"learned: {_list(unlike)}",
        )
    if failed:
        complain("warning", f"no log-density was found for {len(failed)} candidates: {_list(failed)}")
    if found["draws"]["failed"]:
        complain("warning", f"no log-density was found for {found['draws']['failed']} draws of the prior; left out")


def _list(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
    return ", ".join(map(str, numbers[:20])) + more
