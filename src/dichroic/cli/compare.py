"""`dichroic compare`: runs and classical methods on the same held-out observations, in one table and one figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Conditions, Count, Folder, Json, Seed

if TYPE_CHECKING:
    from dichroic.run import Run

__all__ = ["compare", "rows", "show"]

_KINDS = {"seen": "as seen", "mean": "mean", "draw": "draw"}


def compare(
    folder: Folder,
    others: Annotated[list[str] | None, Parameter(negative="")] = None,
    *,
    out: Path = Path("compare.png"),
    draws: Count = 8,
    seed: Seed = 0,
    json: Json = False,
    conditions: Conditions | None = None,
) -> int:
    """Compare a run with other runs, or with classical methods, on its held-out observations.

    Parameters
    ----------
    others
        Run folders of the same problem, and names of baselines, which are fitted to it.
    out
        The figure, a .png file.
    draws
        Posterior draws of the baselines.
    seed
        Seed of the baselines.
    """
    prepare(conditions)
    from dichroic.cli.output import print_json
    from dichroic.run import Run
    from dichroic.store import claim

    claim(out, suffix=".png")
    found = rows(Run(folder), others or [], draws=draws, seed=seed)
    written = _figure(found, out)
    if json:
        print_json({"rows": found, "figure": written and str(written)})
        return 0
    show(found)
    if written is not None:
        say(f"figure: {written}")
    return 0


def rows(run: "Run", others: Sequence[str], *, draws: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """A row for every method: its scores on the held-out observations of the run, by view.

    **Raises:** `RunError` for a name that is neither a run nor a baseline, and for runs of other observations.
    """
    from dichroic.baselines import BASELINES
    from dichroic.faults import among
    from dichroic.run import Run, RunError, RunFolder, Separation
    from dichroic.run.summary import view_scores

    ours, observed = run.separation, run.held_out
    if observed is None:
        raise RunError(f"the run in {run.path} has no held-out observations to compare by")

    def scored(name: str, separation: Separation) -> dict[str, Any]:
        return {"method": name, "point": separation.point, "views": view_scores(separation, observed)}

    found = [scored(str(run.path), ours)]
    for other in others:
        if RunFolder(Path(other)).exists:
            beside = Run(Path(other))
            if beside.held_out is None or beside.held_out.fingerprint() != observed.fingerprint():
                raise RunError(f"the run in {other} was judged by other observations than that in {run.path}")
            found.append(scored(other, beside.separation))
        elif other in BASELINES:
            fitted = BASELINES[other].fit(run.problem, BASELINES[other].Config(), seed)
            found.append(scored(other, fitted.separate(observed, draws=draws, seed=seed)))
        else:
            known = among(other, BASELINES)
            raise RunError(f"'{other}' is neither a run folder nor a baseline; there are: {known}")
    return found


def show(found: Sequence[Mapping[str, Any]]) -> None:
    """Prints one table."""
    from dichroic.cli.output import make_table, print_table

    columns = _columns(found)
    heads = [f"{s}, {_KINDS[kind]} (dB)" for _, s, kind in columns]
    views = [name for name, _, _ in columns]
    title = "Held-out observations" + ("" if columns else ", whose truth is not known")
    table = make_table(title, "method", "view", "chi²", "diverged", *dict.fromkeys(heads), numbers=2 + len(set(heads)))
    for row in found:
        for view, numbers in row["views"].items():
            scores = {
                f"{s}, {_KINDS[kind]} (dB)": f"{numbers['psnr'][s][kind]:.2f}"
                for name, s, kind in columns
                if name == view and kind in numbers.get("psnr", {}).get(s, {})
            }
            if columns and view not in views:
                continue
            cells = [scores.get(head, "") for head in dict.fromkeys(heads)]
            table.add_row(row["method"], view, f"{numbers['chi_square']:.3f}", f"{numbers['diverged']:.1%}", *cells)
    print_table(table)


def _columns(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Views, sources and kinds of scores that there are."""
    known = {
        (view, s, kind)
        for row in found
        for view, numbers in row["views"].items()
        for s, scores in numbers.get("psnr", {}).items()
        for kind in scores
    }
    order = list(_KINDS)
    return sorted(known, key=lambda each: (*each[:2], order.index(each[2])))


def _figure(found: Sequence[Mapping[str, Any]], out: Path) -> Path | None:
    """Bars of all scores, grouped by method; None where the truth is not known."""
    columns = _columns(found)
    if not columns:
        return None
    import numpy as np
    from matplotlib.figure import Figure

    from dichroic.store import whole

    figure = Figure(figsize=(2 + 1.6 * len(columns), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(found)
    for number, row in enumerate(found):
        values = [
            row["views"].get(view, {}).get("psnr", {}).get(s, {}).get(kind, float("nan")) for view, s, kind in columns
        ]
        axes.bar(np.arange(len(columns)) + (number - (len(found) - 1) / 2) * width, values, width, label=row["method"])
    axes.set_xticks(np.arange(len(columns)), [f"{s}\n{_KINDS[kind]}, {view}" for view, s, kind in columns])
    axes.set_ylabel("PSNR (dB)")
    axes.legend(loc="best", fontsize="small")
    with whole(out) as temporary:
        figure.savefig(temporary, format="png", dpi=144)
    return out
