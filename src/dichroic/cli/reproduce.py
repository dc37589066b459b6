"""`dichroic reproduce`: the published experiments, here, with the published numbers beside."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.options import Count, Json, Quiet, Seed, Words
from dichroic.cli.progress import meter

__all__ = ["reproduce"]


def reproduce(
    *experiments: str,
    scale: Literal["smoke", "laptop", "paper"] = "laptop",
    out: Path = Path("runs/reproduce"),
    methods: Words = None,
    ablation: Words = None,
    sweep: Words = None,
    trials: Count = 20,
    data: Path | None = None,
    seed: Seed = 0,
    docs: Path | None = None,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Run the published experiments, and print their table with the published numbers beside.

    What is done is skipped, what was stopped is continued: say the same command again. The tables show everything
    found in the folder, from whichever call.

    Parameters
    ----------
    experiments
        Names of experiments (default: all of mixtures; --list prints them).
    scale
        smoke to see it work, laptop for two cores, paper for the published sizes and a GPU.
    out
        The folder of all runs; a scale is a folder in it.
    methods
        Methods to run (default: those of each experiment).
    ablation
        Ablations to run in place of experiments.
    sweep
        Methods to look for the best settings of, on a part of the training observations; they are then kept and used.
    trials
        Settings that a sweep tries.
    data
        Where data sets lie that no installed package brings, such as MNIST: a file, or a folder.
    seed
        Seed of data, fits and draws.
    docs
        A folder to write the table and the figure to as well.
    list_
        Print the names of experiments, studies, methods and ablations.
    """
    prepare()
    from dichroic.cli.messages import say
    from dichroic.cli.output import print_json
    from dichroic.run import RunError
    from dichroic.studies.reproduce import as_markdown, write_results
    from dichroic.studies.reproduce import reproduce as run
    from dichroic.studies.reproduce import reproduce_ablation as run_ablation
    from dichroic.studies.reproduce import sweep as run_sweep

    if list_:
        return _list(scale)
    if sweep and not experiments:
        raise RunError("--sweep: say which experiments to tune for")
    with meter(quiet) as progress:
        options: dict[str, Any] = {"data": data, "seed": seed, "progress": progress}
        found = None
        for method in sweep or []:
            for name in experiments:
                progress.say(f"best settings: {run_sweep(name, method, scale, out, trials=trials, **options)}")
        for name in ablation or []:
            found = run_ablation(name, scale, out, **options)
        if found is None or experiments:
            found = run(experiments, scale, out, methods=methods or sweep or [], **options)
    written = write_results(found, out / scale, docs)
    if json:
        print_json(found)
    else:
        say(as_markdown(found))
        for file in written:
            say(f"written: {file}")
    return 1 if _failed(found) else 0


def _failed(found: dict[str, Any]) -> bool:
    cells = [c for e in (*found["experiments"], *found["studies"]) for c in e["cells"]]
    cells += [row["cell"] for a in found["ablations"] for row in a["rows"] if row["cell"]]
    return any(c["status"] == "failed" for c in cells)


def _list(scale: str) -> int:
    from dichroic.cli.output import make_table, print_table
    from dichroic.studies.reproduce import (
        METHODS,
        STUDIES,
        ablation_names,
        experiment_names,
        load_ablation,
        load_experiment,
    )

    table = make_table(f"Experiments, scale {scale}", "name", "title", "methods")
    for name in experiment_names():
        experiment = load_experiment(name, scale)
        table.add_row(name, experiment.title, ", ".join(experiment.methods))
    print_table(table)
    table = make_table("Studies, in which nothing is mixed", "name", "title", "methods")
    for name, study in STUDIES.items():
        table.add_row(name, study.title, ", ".join(study.methods))
    print_table(table)
    table = make_table("Ablations", "name", "title", "rows")
    for name in ablation_names():
        found = load_ablation(name)
        table.add_row(name, found.title, ", ".join(row.name for row in found.rows))
    print_table(table)
    table = make_table("Methods", "name")
    for name in METHODS:
        table.add_row(name)
    print_table(table)
    return 0
