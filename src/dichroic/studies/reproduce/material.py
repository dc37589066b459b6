"""The observations of an experiment in a folder: made once, and the same for every method and every later call."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dichroic.design.report import check_design
from dichroic.problem import Problem, load_problem, save_problem
from dichroic.run import RunError
from dichroic.store import write
from dichroic.studies.reproduce.experiment import Experiment
from dichroic.studies.reproduce.generators import generate

__all__ = ["ExperimentData", "prepare_material", "write_json"]


@dataclass(frozen=True)
class ExperimentData:
    """The data of an experiment in the folders `train` and `test`, and the identifiability of its design."""

    folder: Path
    experiment: Experiment

    @property
    def file(self) -> Path:
        """The problem file of the observations to learn from."""
        return self.folder / "train" / "problem.toml"

    @cached_property
    def problem(self) -> Problem:
        """The observations to learn from. Fits keep some of them for their own judgement."""
        return load_problem(self.file).problem

    @cached_property
    def test(self) -> Problem:
        """The observations behind every number, which no fit has seen: those views that are scored."""
        whole = load_problem(self.folder / "test").problem
        wanted = {t.view for t in self.experiment.targets} or set(whole.views)
        if unknown := wanted - set(whole.views):
            raise RunError(f"experiment '{self.experiment.name}' scores views that its data lacks: {sorted(unknown)}")
        views = {name: view for name, view in whole.views.items() if name in wanted}
        shown = {s for view in views.values() for s in view.mixing}
        return Problem({s: source for s, source in whole.sources.items() if s in shown}, views, whole.title)

    @cached_property
    def fingerprint(self) -> str:
        """Of all observations."""
        return self.problem.fingerprint() + self.test.fingerprint()

    def design(self) -> dict[str, Any] | None:
        """Conditions of the means and covariances, None where the experiment does not ask for them."""
        if not self.experiment.design:
            return None
        file = self.folder / "design.json"
        if not file.is_file():
            report = check_design(self.problem, contraction=False)
            assert report is not None
            found = report.summary()
            numbers = {
                order: {key: found[order][key] for key in ("condition", "null", "trade_offs", "exact")}
                for order in ("means", "covariances")
            }
            write_json(file, {"identified": found["identified"], **numbers, "seconds": found["seconds"]})
        return json.loads(file.read_text())


def prepare_material(experiment: Experiment, folder: Path, seed: int, data: Path | None) -> ExperimentData:
    """Makes the observations, unless they are there.

    **Raises:** `MissingData` where a data set is; `RunError` when the folder holds those of other arguments.
    """
    made = {"generator": experiment.generator, "arguments": experiment.arguments, "seed": seed}
    note = folder / "made.json"
    if note.is_file():
        before = json.loads(note.read_text())
        if before != json.loads(json.dumps(made)):
            raise RunError(
                f"{folder} holds the data of other arguments ({before}, now {made}); choose another --out or remove it"
            )
        return ExperimentData(folder, experiment)
    problem, held_out = generate(experiment.generator, experiment.arguments, seed, data)
    save_problem(problem, folder / "train", experiment.priors)
    save_problem(held_out, folder / "test", experiment.priors)
    write_json(note, made)  # goes last: what has it is whole
    return ExperimentData(folder, experiment)


def write_json(file: Path, content: Any) -> None:
    """Writes a file, whole or not at all."""
    write(file, json.dumps(content, indent=1) + "\n")
