"""The run folder: everything a run reads and writes, by name."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianFit
from dichroic.design.design_file import load_design, save_design
from dichroic.design.report import DesignReport
from dichroic.diffusion import Prior
from dichroic.em import EMState, FitConfig, load_state, save_state

__all__ = ["RunError", "RunFolder"]


class RunError(RuntimeError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


@dataclass(frozen=True)
class RunFolder:
    """`config.toml`, `problem.json`, `provenance.json`, `design.npz`, `gaussian.npz`, `metrics.jsonl`, `checkpoint/`,
    `priors/`, `separated.zarr` and `report.html` under one path.

    Files are written under a temporary name and renamed: a killed process leaves no half file behind.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.toml").is_file()

    def create(self, config: FitConfig, problem: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Starts a run: writes what it is about."""
        import tomli_w

        self.path.mkdir(parents=True, exist_ok=True)
        self._write_json("problem.json", problem)
        self._write_json("provenance.json", provenance)
        self._replace("config.toml", tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode())

    def config(self) -> FitConfig:
        """The settings of the run."""
        import tomllib

        self._require("config.toml")
        return FitConfig.model_validate(tomllib.loads((self.path / "config.toml").read_text()))

    def problem(self) -> dict[str, Any]:
        """Where the problem came from, its fingerprint and the shapes of its sources and views."""
        self._require("problem.json")
        return json.loads((self.path / "problem.json").read_text())

    def provenance(self) -> dict[str, Any]:
        """Versions, device and times."""
        return json.loads((self.path / "provenance.json").read_text())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from working on the run at the same time; ends with the process, however it ends.

        **Raises:** `RunError` when another one does.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is working on the run in {self.path}") from None
            except OSError:  # a file system without locks
                pass
            yield

    def tidy(self) -> None:
        """Removes what processes that were killed left half written."""
        for folder in (self.path, self.path / "checkpoints", self.path / "priors"):
            for left in folder.glob(".*.tmp*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def save_design(self, report: DesignReport) -> None:
        """Keeps what was found out about the design."""
        save_design(report, self.path / "design.npz")

    def design(self) -> DesignReport | None:
        """The report on the design, None where there is none."""
        return load_design(self.path / "design.npz")

    def save_gaussian(self, fit: GaussianFit) -> None:
        """Keeps the Gaussian stage."""
        arrays: dict[str, np.ndarray] = {
            "log_likelihood": np.asarray(fit.log_likelihood),
            "converged": np.asarray(fit.converged),
            "sources": np.asarray(list(fit.populations)),
        }
        for number, p in enumerate(fit.populations.values()):
            for name in ("mean", "basis", "values", "rest"):
                arrays[f"{number}_{name}"] = np.asarray(getattr(p, name))
        temporary = self.path / f".gaussian.{os.getpid()}.tmp.npz"
        np.savez(temporary, **arrays)  # pyright: ignore
        os.replace(temporary, self.path / "gaussian.npz")

    def gaussian(self) -> GaussianFit | None:
        """The Gaussian stage, None when it is not done."""
        file = self.path / "gaussian.npz"
        if not file.is_file():
            return None
        with np.load(file) as arrays:
            populations = {
                str(s): Gaussian(
                    arrays[f"{i}_mean"], arrays[f"{i}_basis"], arrays[f"{i}_values"], float(arrays[f"{i}_rest"])
                )
                for i, s in enumerate(arrays["sources"])
            }
            return GaussianFit(populations, arrays["log_likelihood"].tolist(), bool(arrays["converged"]))

    def save_checkpoint(self, state: EMState) -> None:
        """Keeps the state after a lap, then removes the one before."""
        # the records come first: a process killed in between repeats the lap, and writes them again
        self._replace("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in state.records).encode())
        save_state(state, self.path / "checkpoints" / f"{len(state.records):06d}_{state.stage:03d}_{state.lap:06d}")
        for old in self._checkpoints()[:-1]:
            shutil.rmtree(old)

    def checkpoint(self) -> EMState | None:
        """The last state kept, None when there is none."""
        found = self._checkpoints()
        return load_state(found[-1]) if found else None

    def records(self) -> list[dict[str, Any]]:
        """One dict per lap."""
        file = self.path / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def save_priors(self, priors: dict[str, Prior]) -> None:
        """Writes the learned priors, one portable file each, and marks the fit as done."""
        (self.path / "priors").mkdir(exist_ok=True)
        files = {}
        for source, prior in priors.items():
            readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in source)
            files[source] = f"{readable}.safetensors"
            prior.save(self.path / "priors" / files[source])
        self._write_json("priors/index.json", files)

    def priors(self) -> dict[str, Prior]:
        """The learned priors.

        **Raises:** `RunError` when the fit is not finished.
        """
        if not self.finished:
            raise RunError(f"the fit in {self.path} is not finished; continue it with: dichroic resume {self.path}")
        files = json.loads((self.path / "priors" / "index.json").read_text())
        return {source: Prior.load(self.path / "priors" / name) for source, name in files.items()}

    @property
    def finished(self) -> bool:
        """Whether the fit has ended and its priors are written."""
        return (self.path / "priors" / "index.json").is_file()

    def _checkpoints(self) -> list[Path]:
        folder = self.path / "checkpoints"
        return sorted(p for p in folder.glob("[0-9]*") if p.is_dir()) if folder.is_dir() else []

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        self._replace(name, json.dumps(content, indent=1).encode())

    def _replace(self, name: str, content: bytes) -> None:
        file = self.path / name
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        os.replace(temporary, file)

    def _require(self, name: str) -> None:
        if not (self.path / name).is_file():
            raise RunError(f"{self.path} is not a run folder: it has no {name}")
