"""What there is to report about a run, in whatever state it is: the folder, read as far as it goes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.baselines import Beside, beside
from dichroic.closed import GaussianFit
from dichroic.diffusion import Prior
from dichroic.em import EMState, split
from dichroic.formats import Labels
from dichroic.operators import Identity, PerSample, Scale
from dichroic.problem import Problem, View, as_pairs
from dichroic.problem.portion import portion
from dichroic.report.pictures import nan_stat
from dichroic.run import Run, Separation
from dichroic.settings import FitConfig

__all__ = ["Material", "Separated", "first_words", "gather", "magnitudes"]

_FOLDERS = re.compile(r"(?<![\w:/])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+")


@dataclass(frozen=True)
class Separated:
    """Posterior draws of one view. `samples`, `{source: (n, draws, ...)}`, may be on disk; `view` is None where the
    observations themselves are not at hand; `diverged` and `chi_square` have shape `(n, draws)`; the sources
    `complexes` are shown by their magnitudes; `means` and `appearances`, `{source: (n, ...)}`, posterior means as they
    are and as the view shows them, where they were kept; `beside`, simple answers by their titles,
    `{source: (n, ...)}`; `labels`, what observations and entries are called.
    """

    name: str
    samples: Mapping[str, Any]
    diverged: np.ndarray
    chi_square: np.ndarray | None
    view: View | None
    complexes: frozenset[str] = frozenset()
    means: Mapping[str, Any] = field(default_factory=dict)
    appearances: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)

    def __len__(self) -> int:
        return len(self.diverged)

    def usable(self, index: int | np.integer) -> bool:
        """Whether any draw of an observation may be used."""
        return not bool(np.all(self.diverged[index]))

    def draws(self, source: str, index: int | np.integer) -> np.ndarray:
        """All draws of one observation, NaN where one diverged: shape `(draws, ...)`."""
        x = np.array(as_pairs(self.samples[source][int(index)]), dtype=float)
        x[self.diverged[index]] = np.nan
        return self._shown(source, x)

    def mean(self, source: str, index: int | np.integer) -> np.ndarray:
        """The posterior mean of one observation: the one that was kept, or else the mean of the draws."""
        if source not in self.means:
            return nan_stat("nanmean", self.draws(source, index), axis=0)
        return self._shown(source, np.asarray(as_pairs(self.means[source][int(index)]), float))

    def seen(self, source: str, index: int | np.integer) -> np.ndarray | None:
        """That mean as the view shows it, complex values by their magnitude; None where it was not kept, or the view
        does nothing but scale the source.
        """
        operator = None if self.view is None else self.view.mixing.get(source)
        operator = operator.value if isinstance(operator, PerSample) else operator
        if source not in self.appearances or operator is None or isinstance(operator, Identity | Scale):
            return None
        x = np.asarray(self.appearances[source][int(index)])
        return np.abs(x) if np.iscomplexobj(x) else np.asarray(x, float)

    def first_draws(self, source: str, n: int) -> np.ndarray:
        """The first draw of the first `n` observations, NaN where it diverged: shape `(n, ...)`."""
        return self._shown(source, self._first(source, np.arange(min(n, len(self)))))

    def unmixed(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """The first draw of all sources of some observations as the operators take them, complex ones as pairs."""
        return {s: self._first(s, index) for s in self.samples}

    def truth(self, source: str) -> np.ndarray | None:
        """The true source of every observation, where it is known."""
        x = None if self.view is None else self.view.truth.get(source)
        return None if x is None else self._shown(source, as_pairs(x))

    def _first(self, source: str, index: np.ndarray) -> np.ndarray:
        if np.array_equal(index, np.arange(len(index))):
            x = self.samples[source][: len(index), 0]
        else:
            x = np.stack([self.samples[source][int(i)][0] for i in index])
        x = np.array(as_pairs(x), float)
        x[self.diverged[index, 0]] = np.nan
        return x

    def _shown(self, source: str, x: np.ndarray) -> np.ndarray:
        return magnitudes(x) if source in self.complexes else x

    def values(self) -> np.ndarray | None:
        """How many real values each observation has: shape `(n,)`."""
        return None if self.view is None else self.view.counts


@dataclass
class Material:
    """Everything a report is made from. `notes` says in plain words what is missing and why."""

    path: Path
    config: FitConfig
    description: Mapping[str, Any]
    provenance: Mapping[str, Any]
    finished: bool
    problem: Problem | None = None
    learned_from: dict[str, int] = field(default_factory=dict)
    held_out: Problem | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    gaussian: GaussianFit | None = None
    priors: Mapping[str, Prior] = field(default_factory=dict)
    separated: dict[str, Separated] = field(default_factory=dict)
    evaluations: int | None = None
    judged_on: str = "the held-out observations"
    notes: list[str] = field(default_factory=list)
    beside: Beside = field(default_factory=lambda: Beside({}, []))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every source as it is shown."""
        return {s: tuple(source["shape"]) for s, source in self.description["sources"].items()}

    @property
    def real_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every source as it is learned: complex ones as real pairs."""
        return {s: (*shape, 2) if s in self.complexes else shape for s, shape in self.shapes.items()}

    @property
    def complexes(self) -> frozenset[str]:
        """The complex sources."""
        return frozenset(s for s, source in self.description["sources"].items() if source.get("dtype") == "complex")

    def unit(self, source: str) -> str:
        """Unit of a source, possibly empty."""
        return self.description["sources"][source].get("unit", "")


def magnitudes(x: np.ndarray) -> np.ndarray:
    """Of complex numbers that are pairs along the last axis."""
    return np.hypot(x[..., 0], x[..., 1])


def first_words(error: Exception) -> str:
    """The first line of an error, without the folders of files, which are nobody else's business."""
    text = str(error).strip()
    return f"{type(error).__name__}: {_FOLDERS.sub('', text.splitlines()[0])}" if text else type(error).__name__


def gather(run: Run) -> Material:
    """Reads a run folder as far as it goes."""
    folder = run.folder
    material = Material(run.path, run.config, folder.problem(), folder.provenance(), folder.finished)
    material.records = _try(material, "the records of the laps", lambda: run.records) or []
    material.gaussian = _try(material, "the Gaussian stage", lambda: run.gaussian)
    _observations(material, run)
    state = None
    if not material.finished or not run.separated.exists():
        state = _try(material, "the last checkpoint", folder.checkpoint)
    material.priors = _priors(material, run, state)
    if run.separated.exists():
        if material.problem is not None and material.held_out is not None:
            material.beside = _try(material, "simple answers", lambda: beside(run)) or material.beside
        _separation(material, run)
    if not material.separated and state is not None:
        _checkpoint_draws(material, state)
    if not material.finished:
        material.notes.append(
            "The fit is not finished: this is what there is so far. Continue it with: dichroic resume "
            + material.path.resolve().name
        )
    return material


def _try(material: Material, what: str, read: Any) -> Any:
    """A damaged part of a run costs its own section, not the report."""
    try:
        return read()
    except Exception as error:
        material.notes.append(f"Not shown: {what} ({first_words(error)}).")
        return None


def _observations(material: Material, run: Run) -> None:
    try:
        problem, held_out = run.problem, run.held_out
        share, fingerprint = material.description["held_out"], material.description["fingerprint"]
        if held_out is None and not isinstance(share, str) and problem.fingerprint() == fingerprint:
            problem, held_out = split(problem, share, material.config)  # it was given whole
    except Exception as error:
        material.notes.append(f"The observations are not at hand, so they are not shown ({first_words(error)}).")
        return
    material.problem, material.held_out = portion(problem), held_out
    material.learned_from = {name: len(view) for name, view in problem.views.items()}


def _priors(material: Material, run: Run, state: EMState | None) -> Mapping[str, Prior]:
    if material.finished:
        return _try(material, "the learned priors", lambda: run.priors) or {}
    if state is not None:
        return state.predicting
    if material.gaussian is not None:
        fit, schedule = material.gaussian, material.config.schedule
        shapes = material.real_shapes
        return {s: fit.prior(s, shapes[s], schedule) for s in fit.populations if s in shapes}
    return {}


def _separation(material: Material, run: Run) -> None:
    result: Separation | None = _try(material, "the separated observations", lambda: Separation.open(run.separated))
    if result is None:
        return
    material.evaluations = result.evaluations
    for name in (v for v in material.description["views"] if v in result.samples):
        samples = {s: result.samples[name][s] for s in material.shapes if s in result.samples[name]}
        view = material.held_out.views.get(name) if material.held_out is not None else None
        n = len(result.diverged[name])
        if view is not None and len(view) != n:
            material.notes.append(
                f"View '{name}': {n} observations were separated, but {len(view)} are held out now; they are not shown."
            )
            view = None
        known = result.labels.get(name) or (None if view is None else view.labels) or Labels()
        material.separated[name] = Separated(
            name,
            samples,
            result.diverged[name],
            result.chi_square[name],
            view,
            material.complexes,
            result.means.get(name, {}),
            result.appearances.get(name, {}),
            {
                title: {s: x.mean(name, s) for s in x.samples.get(name, {})}
                for title, x in material.beside.answers.items()
            },
            known,
        )


def _checkpoint_draws(material: Material, state: EMState) -> None:
    """The draws of the last lap, one per observation, in place of a separation."""
    held = bool(state.held_out_draws)
    problem = material.held_out if held else material.problem
    if not held:
        material.judged_on = "the observations that the fit learned from"
        material.notes.append(
            "There is no held-out set: residuals and pictures are of the observations that the fit learned from, which "
            "flatter it."
        )
    for name, arrays in (state.held_out_draws or state.draws).items():
        view = problem.views.get(name) if problem is not None else None
        usable = np.asarray(arrays["usable"], bool)
        if view is not None and len(view) != len(usable):
            view = None
        samples = {s: arrays[s][:, None] for s in material.shapes if s in arrays}
        material.separated[name] = Separated(name, samples, ~usable[:, None], None, view, material.complexes)
