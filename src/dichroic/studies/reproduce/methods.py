"""The methods of a comparison behind one interface: fit into a folder, or find there what was fitted."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from dichroic.baselines import BASELINES, Baseline, load_baseline
from dichroic.diffusion import Prior
from dichroic.faults import names
from dichroic.posterior import read_method, separation_key
from dichroic.problem import Problem, ProblemError, load_problem
from dichroic.run import Progress, Run, RunError, RunFolder, Separation, complete_priors, fit, separate
from dichroic.run.separation_writer import SeparationWriter
from dichroic.settings import merge, preset
from dichroic.studies.experiments.references import oracle_wiener
from dichroic.studies.radio import SupervisedConfig, fit_supervised, latency_of, separate_supervised
from dichroic.studies.reproduce.experiment import Estimand, check_name

__all__ = ["METHODS", "Contender", "method_named"]


class Contender(ABC):
    """A method with its settings.

    **Fields:** `name`; `title`, for tables; `settings`, all of them, fit for JSON.
    """

    name: str
    title: str
    settings: dict[str, Any]

    @abstractmethod
    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        """Fits into a folder; what was fitted there is continued, or left as it is when it is whole.

        **Arguments:** `file`, where the problem was read from.

        **Raises:** `ProblemError` where the method does not apply to the problem.
        """

    @abstractmethod
    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        """Separates held-out observations, into `separated.zarr` in the folder."""

    def sample(self, folder: Path, source: str, n: int, seed: int) -> np.ndarray | None:
        """Samples of a learned population, None where the method has none."""
        return None

    def effort(self, folder: Path) -> dict[str, Any]:
        """Counts of what the fit did."""
        return {}

    def said(self, folder: Path) -> str:
        """What else there is to know of it, in words."""
        return ""


class _Fit(Contender):
    """The fit of this library, or a published method that is a setting of it."""

    def __init__(self, name: str, title: str, base: str, settings: Mapping[str, Any]):
        self.name, self.title = name, title
        self.config = preset(base, merge(_CLOSED.get(name, {}), settings))
        self.settings = self.config.model_dump(mode="json", exclude_none=True)

    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        config = self.config.model_copy(update={"seed": seed})
        fit(problem, config, out=folder / "run", progress=progress, source_file=file)

    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        out = folder / "separated.zarr"
        return Run(folder / "run").separate(problem, draws=draws, seed=seed, out=out, overwrite=True)

    def sample(self, folder: Path, source: str, n: int, seed: int) -> np.ndarray | None:
        return Run(folder / "run").sample(source, n, seed=seed)

    def effort(self, folder: Path) -> dict[str, Any]:
        run = RunFolder(folder / "run")
        records, config = run.records(), run.config()
        views = run.problem()["views"]
        laps = [r for r in records if r["lap"]]
        if not laps:
            return {}
        drawn = sum(
            numbers["evaluations"] * views[view]["observations"]
            for r in records
            for view, numbers in r["views"].items()
        )
        best: dict[str, int] = {r["stage"]: r["best_lap"] for r in records}
        law, mixtures = next((run.path / "posteriors").glob("*"), None) is not None, config.mixtures
        steps = mixtures.start_steps + len(laps) * mixtures.steps
        return {
            "laps": {stage: sum(r["stage"] == stage for r in laps) for stage in best},
            "best_lap": best,
            "training_steps": steps if law else sum(len(r["loss"]) for r in laps) * config.training.steps,
            "training_batch": mixtures.batch if law else config.training.batch,
            "draw_evaluations": int(drawn),
        }


class _Given(Contender):
    """A way of drawing posteriors, with the priors that the problem file says: nothing is fitted."""

    def __init__(self, name: str, title: str, sampling: Mapping[str, Any], settings: Mapping[str, Any]):
        self.name, self.title, self.method = name, title, read_method(merge(sampling, settings))
        self.settings = self.method.model_dump(mode="json", exclude_none=True)
        self._priors: dict[str, Any] = {}

    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        self._priors = load_problem(file).frozen

    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        priors, out = complete_priors(self._priors, problem), folder / "separated.zarr"
        how: dict[str, Any] = {"draws": draws, "sampling": self.method, "share": 1.0, "out": out, "overwrite": True}
        return separate(problem, priors, key=separation_key(seed), **how)


class _Supervised(Contender):
    """A network that was shown what was sent, see `dichroic.studies.radio.supervised`: a reference, of two sources."""

    def __init__(self, name: str, title: str, network: Mapping[str, Any], settings: Mapping[str, Any]):
        self.name, self.title = name, title
        self.config = SupervisedConfig.model_validate(merge({"network": network}, settings))
        self.settings = self.config.model_dump(mode="json", exclude_none=True)

    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        if not (folder / _NETWORK).is_file():
            fit_supervised(problem, load_problem(file).frozen, self.config, seed, progress).save(folder / _NETWORK)

    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        prior = Prior.load(folder / _NETWORK)
        return separate_supervised(problem, prior, self.config.signal, folder / "separated.zarr")

    def said(self, folder: Path) -> str:
        return latency_of(Prior.load(folder / _NETWORK), self.config.network)


class _Baseline(Contender):
    """A classical method."""

    def __init__(self, cls: type[Baseline], settings: Mapping[str, Any]):
        self.cls, self.name, self.title = cls, cls.name, cls.title
        self.config = cls.Config.model_validate(dict(settings))
        self.settings = self.config.model_dump(mode="json", exclude_none=True)

    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        if not (folder / "baseline.json").is_file():
            self.cls.fit(problem, self.config, seed).save(folder)

    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        fitted = load_baseline(folder)
        return fitted.separate(problem, draws=draws, seed=seed, out=folder / "separated.zarr", overwrite=True)

    def sample(self, folder: Path, source: str, n: int, seed: int) -> np.ndarray | None:
        fitted = load_baseline(folder)
        return fitted.sample(source, n, seed=seed) if source in fitted.modelled() else None


class _Reference(Contender):
    """The estimate that needs the truth of the training observations: nothing is kept of a fit."""

    def __init__(self, name: str, settings: Mapping[str, Any]):
        if settings:
            raise RunError(f"method '{name}' has no settings; got: {names(settings)}")
        self.name, self.settings = name, {}
        self.title = "Wiener filter, true covariances"
        self._problem: Problem | None = None

    def fit(self, problem: Problem, folder: Path, file: Path, seed: int, progress: Progress) -> None:
        self._problem = problem

    def separate(self, problem: Problem, folder: Path, targets: list[Estimand], draws: int, seed: int) -> Separation:
        assert self._problem is not None
        shapes = {
            name: (len(view), {t.source: problem.sources[t.source].real_shape for t in targets if t.view == name})
            for name, view in problem.views.items()
        }
        faults = []
        with SeparationWriter(folder / "separated.zarr", shapes, 1, overwrite=True, point=True) as writer:
            for target in targets:
                try:
                    found = oracle_wiener(self._problem, problem, target.source, target.view, target.peak)
                    writer.samples[target.view][target.source][:, 0] = found.estimate
                except ValueError as error:
                    writer.samples[target.view][target.source][:] = np.nan
                    faults.append(str(error))
            if len(faults) == len(targets):
                raise ProblemError(faults)
            for name, (n, _) in shapes.items():
                writer.chi_square[name][:] = np.full((n, 1), np.nan)
                writer.diverged[name][:] = False
        return writer.finish()


# without networks
_CLOSED: dict[str, dict[str, Any]] = {
    "gaussian": {"laps": 0, "draws": 1, "components": {"components": 1}},
    "components": {"laps": 0, "draws": 1},
}
# title, and the preset whose settings are the method's
_FITS: dict[str, tuple[str, str]] = {
    "dichroic": ("dichroic", "standard"),
    "gaussian": ("dichroic, Gaussian stage alone", "standard"),
    "components": ("dichroic, closed forms alone", "standard"),
    "ddprism": ("DDPRISM's settings, run here", "ddprism"),
    "ddprism-gibbs": ("DDPRISM-Gibbs's settings, run here", "ddprism-gibbs"),
    "diem": ("DiEM's settings, run here", "diem"),
}
# title, and how posteriors are drawn where priors are given
_GIVENS: dict[str, tuple[str, dict[str, Any]]] = {
    "alpha-rgs": ("alpha-RGS", {"kind": "alpha_rgs"}),
    "alpha-rgs-restarts": ("alpha-RGS, best of six starts", {"kind": "alpha_rgs", "restarts": 6}),
    "matched-filter": ("matched filter", {"kind": "matched_filter"}),
    "lmmse": ("best linear estimate", {"kind": "lmmse"}),
    "successive-cancellation": ("successive cancellation", {"kind": "successive_cancellation"}),
    "basis": ("BASIS", {"kind": "basis"}),
    "modified-basis": ("BASIS on the data", {"kind": "modified_basis"}),
    "msdm": ("MSDM, Gaussian", {"kind": "msdm"}),
    "msdm-dirac": ("MSDM, Dirac", {"kind": "msdm_dirac"}),
    "reverse-diffusion": ("reverse diffusion", {"kind": "reverse_diffusion"}),
}
# title, and the network that is trained on pairs
_SUPERVISED: dict[str, tuple[str, dict[str, Any]]] = {
    "wavenet": ("WaveNet, of pairs", {"kind": "diffwave", "width": 32, "depth": 12, "cycle": 6}),
    "unet": (
        "U-Net, of pairs",
        {"kind": "unet", "channels": [16, 32, 64], "blocks": [1, 1, 1], "heads": [0, 0, 4], "dropout": 0.0},
    ),
    "transformer": ("causal transformer, of pairs", {"kind": "causal", "width": 128, "depth": 4}),
}
_NETWORK = "network.safetensors"
_REFERENCES = ("oracle-wiener",)

# the name of every method
METHODS: tuple[str, ...] = (*_FITS, *_GIVENS, *_SUPERVISED, *BASELINES, *_REFERENCES)


def method_named(name: str, settings: Mapping[str, Any]) -> Contender:
    """A method with settings.

    **Raises:** `RunError` for an unknown method, or settings it does not have.
    """
    check_name("method", name, METHODS)
    try:
        if name in _FITS:
            return _Fit(name, *_FITS[name], settings)
        if name in _GIVENS:
            return _Given(name, *_GIVENS[name], settings)
        if name in _SUPERVISED:
            return _Supervised(name, *_SUPERVISED[name], settings)
        return _Baseline(BASELINES[name], settings) if name in BASELINES else _Reference(name, settings)
    except ValidationError as error:
        raise RunError(f"settings of '{name}': {error}") from error
