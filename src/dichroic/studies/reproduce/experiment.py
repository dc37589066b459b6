"""Experiments as data: what is generated, fitted, separated and scored, read from the TOML files of a family each.

A file of `dichroic/experiments` holds the experiments of a family and, for every scale, sizes and settings. What an
experiment says of a scale itself comes before what the family says.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from dichroic.faults import among
from dichroic.run import RunError
from dichroic.settings import merge

__all__ = [
    "FAMILIES",
    "SCALES",
    "Estimand",
    "Experiment",
    "Published",
    "Range",
    "Scoring",
    "check_name",
    "experiment_names",
    "load_experiment",
]

SCALES = ("smoke", "laptop", "paper")
Scale = Literal["smoke", "laptop", "paper"]

# the files of dichroic/experiments, in the order of the tables
FAMILIES = (
    "manifolds",
    "mixed",
    "digits",
    "grassy_mnist",
    "galaxies",
    "masked",
    "fourier",
    "speech",
    "cells",
    "galaxies_psf",
    "rf",
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimand(_Table):
    """A source that is scored in a view; `peak` is its dynamic range, for the PSNR; `at`, where the view lies on the
    axis of the experiment.
    """

    view: str
    source: str
    peak: PositiveFloat = 1.0
    at: float | None = None


class Published(_Table):
    """A row of a paper: `numbers` by the names of `MEASURES`, and what is to be known when they are compared."""

    method: str
    citation: str
    numbers: dict[str, float]
    note: str = ""


class Scoring(_Table):
    """How much is evaluated.

    `draws`, posterior draws of every held-out observation; `set_size`, the most samples a distance between sets is
    computed from; `replicates`, half-samples behind its interval; `prior`, whether samples of the priors are scored.
    """

    draws: PositiveInt = 8
    set_size: PositiveInt = 512
    replicates: PositiveInt = 8
    prior: bool = True


class Range(_Table):
    """The range in which a sweep looks for a setting."""

    low: float
    high: float
    integer: bool = False
    log: bool = False


class Experiment(_Table):
    """One experiment at one scale.

    **Fields:** `generator`, a name of `GENERATORS`, with its `arguments`; `targets`, what is scored, the first of them
    beside the published row; `methods`, names of methods, and the `settings` of each; `measures`, names of `MEASURES`;
    `features`, of which classifier, for Fréchet distances of features; `design`, whether the identifiability of the
    design is computed; `allow_unidentified`, whether a design that cannot be learned is fitted all the same; `sweep`,
    the ranges of every method's settings; `priors`, tables that describe those of sources, which its problem files then
    say; `axis`, what its targets lie along: its tables have a column for each of them, and its figure curves.
    """

    name: str
    family: str
    title: str
    scale: Scale
    generator: str
    arguments: dict[str, Any] = {}
    targets: list[Estimand] = []
    methods: list[str] = ["dichroic"]
    settings: dict[str, dict[str, Any]] = {}
    measures: list[str] = ["psnr", "psnr_mean"]
    scoring: Scoring = Scoring()
    features: str | None = None
    design: bool = False
    published: list[Published] = []
    sweep: dict[str, dict[str, Range]] = {}
    priors: dict[str, dict[str, Any]] = {}
    axis: str = ""
    note: str = ""

    def settings_of(self, method: str) -> dict[str, Any]:
        """The settings of a method, as far as they differ from its defaults."""
        return self.settings.get(method, {})

    def changed(self, data: Mapping[str, Any], method: str, settings: Mapping[str, Any]) -> "Experiment":
        """The experiment with other arguments of the generator, or other settings of one method."""
        changed = {**self.settings, method: merge(self.settings_of(method), settings)}
        return self.model_copy(update={"arguments": merge(self.arguments, data), "settings": changed})


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Refuses a name that is not among those known.

    **Raises:** `RunError`.
    """
    if name not in known:
        raise RunError(f"there is no {what} '{name}'; there are: {among(name, known)}")


def experiment_names() -> list[str]:
    """All experiments, family by family."""
    return [name for family in _families().values() for name in family.get("experiments", {})]


def load_experiment(name: str, scale: str) -> Experiment:
    """An experiment at a scale.

    **Raises:** `RunError` for an unknown name or scale.
    """
    check_name("scale", scale, SCALES)
    check_name("experiment", name, experiment_names())
    family, table = next(item for item in _families().items() if name in item[1]["experiments"])
    return _resolve(name, family, table, scale)


def _resolve(name: str, family: str, table: Mapping[str, Any], scale: str) -> Experiment:
    common = {key: value for key, value in table.items() if key not in ("experiments", "scales")}
    own = table["experiments"][name]
    layers: Sequence[Mapping[str, Any]] = [
        common,
        table.get("scales", {}).get(scale, {}),
        {key: value for key, value in own.items() if key != "scales"},
        own.get("scales", {}).get(scale, {}),
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    try:
        return Experiment.model_validate({**merged, "name": name, "family": family, "scale": scale})
    except ValidationError as error:
        raise RunError(f"experiment '{name}' at scale '{scale}', in {family}.toml: {error}") from error


@cache
def _families() -> dict[str, dict[str, Any]]:
    folder = files("dichroic.studies.experiments")
    return {name: tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")) for name in FAMILIES}
