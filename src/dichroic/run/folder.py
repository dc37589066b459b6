"""The run folder: everything a run reads and writes, by name."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianFit, InstrumentFit
from dichroic.design.design_file import load_design, save_design
from dichroic.design.report import DesignReport
from dichroic.diffusion import Prior
from dichroic.em import EMState, load_state, save_state
from dichroic.hosts import by_first, is_first
from dichroic.law import Contrast, LearnedPosterior, MixturesConfig, Rounds, load_rounds, save_rounds
from dichroic.posterior import FastPosterior
from dichroic.run.kept_settings import difference, read_settings
from dichroic.run.next_step import command, go_on
from dichroic.settings import FitConfig
from dichroic.store import (
    Format,
    StoreError,
    digest_of,
    file_names,
    load_arrays,
    load_json,
    locked,
    reading,
    save_arrays,
    save_json,
    tidy,
    write,
)

__all__ = ["RunError", "RunFolder"]

_CONFIG = Format("dichroic settings", 1, unmarked=True)
_PROBLEM = Format("dichroic problem of a run", 1, unmarked=True)
_PROVENANCE = Format("dichroic provenance", 1, unmarked=True)
_INSTRUMENT = Format("dichroic instrument", 1)
_GAUSSIAN = Format("dichroic Gaussian stage", 2)
_RECORD = Format("dichroic record of a lap", 1, unmarked=True)
_PRIORS = Format("dichroic list of priors", 2, unmarked=True)

_KEPT = 2  # checkpoints: should the last one be damaged, the run goes on from the one before

Returned = TypeVar("Returned")


class RunError(RuntimeError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


def _in_words(read: Callable[..., Returned]) -> Callable[..., Returned]:
    """What a method cannot read is a `RunError`."""

    @wraps(read)
    def told(*args: Any, **kwargs: Any) -> Returned:
        try:
            return read(*args, **kwargs)
        except FileNotFoundError as error:
            raise RunError(f"{error.filename or error} is missing") from error
        except StoreError as error:
            raise RunError(str(error)) from error

    return told


@dataclass(frozen=True)
class RunFolder:
    """`config.toml`, `problem.json`, `provenance.json`, `design.safetensors`, `gaussian.safetensors`, `metrics.jsonl`,
    `checkpoints/`, `priors/`, `separated.zarr` and `report.html` under one path.

    Every file appears when it is whole, and says which version of its format it has. Of several processes the first one
    writes.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.toml").is_file()

    @by_first
    def create(self, config: FitConfig, problem: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Starts a run: writes what it is about. The settings are kept twice, once to be read by people."""
        import tomli_w

        settings = config.model_dump(mode="json", exclude_none=True)
        save_json(self.path / "problem.json", {**problem, "settings": settings}, _PROBLEM)
        save_json(self.path / "provenance.json", provenance, _PROVENANCE)
        write(self.path / "config.toml", tomli_w.dumps(_CONFIG.mark(settings)))

    @_in_words
    def config(self) -> FitConfig:
        """The settings of the run.

        **Raises:** `RunError` when they were edited since: all that is there was made with others.
        """
        import tomllib

        file = self.path / "config.toml"
        self._require("config.toml")
        with reading(file):
            content = _CONFIG.check(tomllib.loads(file.read_text(encoding="utf-8")), file)
            config = read_settings(content, file)
        kept = load_json(self.path / "problem.json", _PROBLEM).get("settings")
        before = config if kept is None else read_settings(kept, self.path / "problem.json")
        if before != config:
            raise RunError(
                f"{file} was edited since the run was started, which was with {difference(before, config)}; put that "
                "back, or start another run with the new settings in a folder of its own"
            )
        return config

    @_in_words
    def problem(self) -> dict[str, Any]:
        """Where the problem came from, its fingerprint and the shapes of its sources and views."""
        self._require("problem.json")
        file = self.path / "problem.json"
        content = load_json(file, _PROBLEM)
        if lacking := {"file", "fingerprint", "held_out", "frozen", "sources", "views"} - set(content):
            raise StoreError(f"{file} is damaged: it lacks {', '.join(sorted(lacking))}")
        return {key: value for key, value in content.items() if key != "settings"}

    @_in_words
    def provenance(self) -> dict[str, Any]:
        """Versions, device and times."""
        return load_json(self.path / "provenance.json", _PROVENANCE)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from working on the run at the same time; ends with the process, however it ends.

        **Raises:** `RunError` when another one does.
        """
        held = nullcontext()
        try:
            held = locked(self.path / ".lock") if is_first() else held
        except BlockingIOError:
            raise RunError(f"another process is working on the run in {self.path}") from None
        except OSError as error:
            raise RunError(f"nothing can be written in {self.path}: {error.strerror}") from error
        with held:
            yield

    @by_first
    def tidy(self) -> None:
        """Removes what processes that were killed left half written."""
        for folder in (self.path, *(self.path / name for name in ("checkpoints", "priors", "posteriors", "diagnose"))):
            tidy(folder)

    @by_first
    def save_design(self, report: DesignReport) -> None:
        """Keeps what was found out about the design."""
        save_design(report, self.path / "design.safetensors")

    @_in_words
    def design(self) -> DesignReport | None:
        """The report on the design, None where there is none."""
        return load_design(self.path / "design.safetensors")

    @by_first
    def save_instrument(self, found: InstrumentFit) -> None:
        """Keeps what was learned of the instrument."""
        save_json(self.path / "instrument.json", found.described(), _INSTRUMENT)

    @_in_words
    def instrument(self) -> InstrumentFit | None:
        """What was learned of the instrument, None where nothing was."""
        path = self.path / "instrument.json"
        return InstrumentFit.of(load_json(path, _INSTRUMENT)) if path.is_file() else None

    @by_first
    def save_gaussian(self, fit: GaussianFit) -> None:
        """Keeps the Gaussian stage."""
        arrays = {
            f"{number}_{name}": getattr(p, name)
            for number, p in enumerate(fit.populations.values())
            for name in ("mean", "basis", "values", "rest")
        }
        content = {
            "sources": list(fit.populations),
            "log_likelihood": list(map(float, fit.log_likelihood)),
            "converged": bool(fit.converged),
            "left": [float(x) if np.isfinite(x) else None for x in (fit.remaining, fit.change)],
            "run": self._mark,
        }
        save_arrays(self.path / "gaussian.safetensors", arrays, content, _GAUSSIAN)

    @_in_words
    def gaussian(self) -> GaussianFit | None:
        """The Gaussian stage, None when it is not done."""
        file, first = self.path / "gaussian.safetensors", self.path / "gaussian.npz"
        with reading(file if file.is_file() else first):
            if file.is_file():
                arrays, content = load_arrays(file, _GAUSSIAN)
                if content.get("run") not in (None, self._mark):
                    raise StoreError(f"{file} is of another run")
            elif first.is_file():
                with np.load(first) as stored:
                    arrays = dict(stored)
                content = {name: arrays[name].tolist() for name in ("sources", "log_likelihood", "converged")}
            else:
                return None
            populations = {
                s: Gaussian(
                    arrays[f"{i}_mean"], arrays[f"{i}_basis"], arrays[f"{i}_values"], float(arrays[f"{i}_rest"])
                )
                for i, s in enumerate(content["sources"])
            }
            left = [np.inf if x is None else x for x in content.get("left", ())]
            return GaussianFit(populations, content["log_likelihood"], content["converged"], *left)

    @by_first
    def save_checkpoint(self, state: EMState) -> None:
        """Keeps the state after a lap, and the one before it."""
        # the records come first: a process killed in between repeats the lap, and writes them again
        self.save_records(state.records)
        folder = self.path / "checkpoints" / f"{len(state.records):06d}_{state.stage:03d}_{state.lap:06d}"
        save_state(state, folder, self._mark)
        self._forget_checkpoints(_KEPT)

    @by_first
    def save_records(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes what every lap or round came to."""
        write(self.path / "metrics.jsonl", "".join(json.dumps(_RECORD.mark(record)) + "\n" for record in records))

    @by_first
    def save_rounds(self, state: Rounds) -> None:
        """Keeps the state after a round of the law of the mixtures, and no other."""
        save_rounds(state, self._rounds)

    @_in_words
    def rounds(self, contrast: Contrast, config: MixturesConfig) -> Rounds | None:
        """The last of those states, None where there is none."""
        return load_rounds(self._rounds, contrast, config) if self._rounds.is_file() else None

    @by_first
    def save_posterior(self, view: str, posterior: LearnedPosterior) -> None:
        """Keeps the posterior that was learned for a view."""
        posterior.save(self.path / "posteriors" / f"{file_names([view])[view]}.safetensors")

    @_in_words
    def posteriors(self) -> dict[str, LearnedPosterior]:
        """Posteriors that were learned, by view."""
        found = [LearnedPosterior.load(file) for file in sorted((self.path / "posteriors").glob("*.safetensors"))]
        return {posterior.contrast.view: posterior for posterior in found}

    @property
    def _rounds(self) -> Path:
        return self.path / "checkpoints" / "rounds.safetensors"

    @_in_words
    def checkpoint(self, say: Callable[[str], None] | None = None) -> EMState | None:
        """The last state kept that can be read, None when there is none; `say` is told of those that cannot."""
        found = self._checkpoints()
        while found:
            try:
                return load_state(found[-1], self._mark)
            except StoreError as error:
                if len(found) == 1:
                    raise
                if say is not None:
                    say(f"{error}; going on from the checkpoint before it")
                found.pop()
        return None

    @_in_words
    def records(self) -> list[dict[str, Any]]:
        """One dict per lap."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return []
        with reading(file):
            return [_RECORD.check(json.loads(line), file) for line in file.read_text(encoding="utf-8").splitlines()]

    @by_first
    def save_priors(self, priors: dict[str, Prior]) -> None:
        """Writes the learned priors, one portable file each, and marks the fit as done."""
        (self.path / "priors").mkdir(exist_ok=True)
        files = {source: f"{stem}.safetensors" for source, stem in file_names(priors).items()}
        for source, prior in priors.items():
            prior.save(self.path / "priors" / files[source])
        digests = {source: digest_of(self.path / "priors" / file) for source, file in files.items()}
        save_json(self.path / "priors" / "index.json", {"files": files, "sha256": digests}, _PRIORS)
        self._forget_checkpoints(1)

    @_in_words
    def priors(self) -> dict[str, Prior]:
        """The learned priors.

        **Raises:** `RunError` when the fit is not finished, or a prior cannot be read.
        """
        if not self.finished:
            raise RunError(f"the fit in {self.path} is not finished; {go_on(self.path)}")
        index = self.path / "priors" / "index.json"
        with reading(index):
            content = load_json(index, _PRIORS)
            files = content["files"] if isinstance(content.get("files"), dict) else content
            if (self.path / "problem.json").is_file() and set(files) != set(self.problem()["sources"]):
                raise StoreError(f"{index} is damaged: it does not list the sources of the run")
            found = {source: index.with_name(Path(name).name) for source, name in files.items()}
            for source, file in found.items() if "sha256" in content else ():
                if digest_of(file) != content["sha256"][source]:
                    raise StoreError(f"{file} is damaged, or not what the run has learned")
            return {source: Prior.load(file) for source, file in found.items()}

    @_in_words
    def latest_priors(self) -> tuple[dict[str, Prior], str]:
        """The priors there are, of a fit that was stopped, too, and which ones they are, in words; empty for the
        learned ones.

        **Raises:** `RunError` where there are none yet.
        """
        if self.finished:
            return self.priors(), ""
        state = self.checkpoint()
        if state is not None:
            stage = "" if not state.records else f" of stage '{state.records[-1]['stage']}'"
            return state.priors, f"lap {state.lap}{stage}, of a fit that is not finished"
        gaussian = self.gaussian()
        if gaussian is None:
            raise RunError(f"the fit in {self.path} has no priors yet; {go_on(self.path)}")
        schedule = self.config().schedule
        shapes = {s: tuple(said["shape"]) for s, said in self.problem()["sources"].items()}
        complex_ = {s for s, said in self.problem()["sources"].items() if said.get("dtype") == "complex"}
        found = {s: gaussian.prior(s, (*shape, 2) if s in complex_ else shape, schedule) for s, shape in shapes.items()}
        return found, "the Gaussian stage, of a fit that is not finished"

    def fast_file(self, source: str) -> Path:
        """Where the generator that was distilled from a prior is kept."""
        return self.path / "fast" / f"{file_names(self.problem()['sources'])[source]}.safetensors"

    @_in_words
    def fast_prior(self, source: str) -> Prior:
        """That generator.

        **Raises:** `RunError` where there is none.
        """
        file = self.fast_file(source)
        if not file.is_file():
            raise RunError(f"nothing was distilled; say: {command('distill', self.path, '--source', source)}")
        with reading(file):
            return Prior.load(file)

    def fast_posterior_file(self, view: str) -> Path:
        """Where the fast posterior of a view is kept."""
        return self.path / "fast" / "views" / f"{file_names(self.problem()['views'])[view]}.safetensors"

    @_in_words
    def fast_posteriors(self) -> dict[str, FastPosterior]:
        """The fast posteriors that were distilled, by view, accepted or not.

        **Raises:** `RunError` where there is none.
        """
        files = {view: self.fast_posterior_file(view) for view in self.problem()["views"]}
        found = {view: FastPosterior.load(file) for view, file in files.items() if file.is_file()}
        if not found:
            raise RunError(f"no posterior was distilled; say: {command('distill', self.path, '--posterior')}")
        return found

    @property
    def finished(self) -> bool:
        """Whether the fit has ended and its priors are written."""
        return (self.path / "priors" / "index.json").is_file()

    @property
    def _mark(self) -> str | None:
        """What tells the files of this run from those of others."""
        file = self.path / "problem.json"
        return digest_of(file) if file.is_file() else None

    def _checkpoints(self) -> list[Path]:
        folder = self.path / "checkpoints"
        return sorted(p for p in folder.glob("[0-9]*") if p.is_dir()) if folder.is_dir() else []

    def _forget_checkpoints(self, kept: int) -> None:
        for old in self._checkpoints()[:-kept]:
            shutil.rmtree(old)

    def _require(self, name: str) -> None:
        if not (self.path / name).is_file():
            raise RunError(f"{self.path} is not a run folder: it has no {name}")
