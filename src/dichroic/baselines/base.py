"""What every baseline is: settings, fitted arrays, and the calls that fit, separate, sample, save and load."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.baselines.batches import chi_square
from dichroic.diffusion import Cost
from dichroic.faults import among, names
from dichroic.kinds import Settings
from dichroic.posterior import Draws, separation_key
from dichroic.problem import Problem, ProblemError, View
from dichroic.run import Separation
from dichroic.run.separation_writer import SeparationWriter
from dichroic.store import Format, load_arrays, load_json, save_arrays, save_json

__all__ = ["Baseline", "BaselineConfig", "read_header", "separated"]

_BASELINE = Format("dichroic baseline", 1)
_ARRAYS = Format("dichroic arrays of a baseline", 1, unmarked=True)


class BaselineConfig(Settings):
    """Settings of a baseline; unknown ones are refused."""


@dataclass(frozen=True, repr=False)
class Baseline(ABC):
    """A fitted baseline, made by `fit` or `load`.

    **Fields:** `config`, the settings; `shapes`, of every source of the problem; `arrays`, all that was learned;
    `record`, what else there is to know about the fit, fit for JSON.

    Of the class: `name`, its key in `BASELINES`; `title`, its name in sentences; `Config`, its settings (none);
    `has_posterior`, whether it gives draws, or else one point estimate for every observation.
    """

    config: Any
    shapes: Mapping[str, tuple[int, ...]]
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]

    name: ClassVar[str]
    title: ClassVar[str]
    Config: ClassVar[type[BaselineConfig]] = BaselineConfig
    has_posterior: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r}, sources {names(self.shapes)})"

    @classmethod
    @abstractmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        """Whether the method can be fitted to a problem.

        **Raises:** `ProblemError` when it cannot, with every reason.
        """

    @classmethod
    def fit(cls, problem: Problem, config: Any = None, seed: int = 0) -> "Baseline":
        """Fits the method to the observations of a problem; truth is never looked at.

        **Arguments:** `config`, a `Config` (default: its defaults); `seed`, of everything random.

        **Raises:** `ProblemError` where the method is not applicable, or its fit did not end at finite numbers.
        """
        config = cls.Config() if config is None else config
        if not isinstance(config, cls.Config):
            raise TypeError(f"{cls.title} takes a {cls.Config.__name__}, got a {type(config).__name__}")
        problem.require_noise(cls.title)
        cls.applicable(problem, config)
        arrays, record = cls._fit(problem, config, seed)
        arrays = {name: np.asarray(a) for name, a in arrays.items()}
        if bad := [name for name, a in arrays.items() if not np.isfinite(a).all()]:
            raise ProblemError([f"the fit of {cls.title} ended at numbers that are not finite, in: {names(bad)}"])
        shapes = {s: source.real_shape for s, source in problem.sources.items()}
        return cls(config, shapes, arrays, {**record, "seed": seed})

    def separate(
        self,
        problem: Problem,
        *,
        draws: int = 8,
        seed: int = 0,
        out: str | Path | None = None,
        overwrite: bool = False,
    ) -> Separation:
        """Estimates the sources of observations; nothing is refitted.

        **Arguments:** `problem`, with the sources of the fit; `draws`, per observation, 0 for the point estimate of the
        method, which is its posterior mean where it has one (methods without a posterior give nothing else); `seed`, of
        the draws; `out`, a Zarr store to write to.

        **Returns:** a `Separation`. It holds the sources that the method estimates, which need not be all of a view; a
        residual is given for views all of whose sources are estimated. `point` says which of the two it holds.

        **Raises:** `ProblemError` for sources that are not known, or where there is nothing the method could estimate.
        """
        self._check(problem)
        point = draws == 0 or not self.has_posterior
        found = {name: self.estimates(problem, name) for name in problem.views}
        if not any(found.values()):
            wanted = f"the sources together that it was fitted to; the views show {_views_in_words(problem)}"
            raise ProblemError([f"there is nothing for {self.title} to estimate: no view shows {wanted}"])

        def estimate(name: str, key: PRNGKeyArray | None) -> dict[str, np.ndarray]:
            drawn = self._estimate(problem, name, key)
            return {s: np.asarray(drawn[s], np.float32) for s in found[name]}

        rounds, place = 0 if point else draws, None if out is None else Path(out)
        return separated(problem, found, estimate, self._seen, rounds, seed, place, overwrite, self._cost)

    def sample(self, source: str, n: int, *, seed: int = 0) -> np.ndarray:
        """Draws `n` samples of a source from what the method learned, in the user's units, shape `(n, ...)`.

        **Raises:** `ProblemError` for a source that the method has no model of.
        """
        modelled = self.modelled()
        if source not in modelled:
            known = among(source, modelled)
            raise ProblemError([f"{self.title} has no model of source '{source}'; it has: {known}"])
        return np.asarray(self._sample(source, n, jax.random.key(seed)), np.float32)

    def estimates(self, problem: Problem, view: str) -> list[str]:
        """The sources that the method estimates in a view: all of them, unless it says otherwise."""
        return list(problem.views[view].mixing)

    def modelled(self) -> list[str]:
        """The sources that new samples can be drawn of."""
        return []

    def save(self, folder: str | Path) -> None:
        """Writes `baseline.json` and `arrays.safetensors` into a folder."""
        folder = Path(folder)
        content = {
            "baseline": self.name,
            "config": self.config.model_dump(mode="json"),
            "shapes": {s: list(shape) for s, shape in self.shapes.items()},
            "record": dict(self.record),
        }
        save_arrays(folder / "arrays.safetensors", self.arrays, {}, _ARRAYS)
        save_json(folder / "baseline.json", content, _BASELINE)  # goes last: a folder that has one is whole

    @classmethod
    def load(cls, folder: str | Path) -> "Baseline":
        """Reads what `save` wrote.

        **Raises:** `FileNotFoundError`; `ValueError` when the folder holds another baseline, or one that is newer than
        this version reads.
        """
        header = read_header(folder)
        if header["baseline"] != cls.name:
            raise ValueError(f"{folder} holds the baseline '{header['baseline']}', not '{cls.name}'")
        return cls(
            cls.Config.model_validate(header["config"]),
            {s: tuple(shape) for s, shape in header["shapes"].items()},
            load_arrays(Path(folder) / "arrays.safetensors", _ARRAYS)[0],
            header["record"],
        )

    @classmethod
    @abstractmethod
    def _fit(cls, problem: Problem, config: Any, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """What was learned, and what else is to be kept of the fit."""

    @abstractmethod
    def _estimate(self, problem: Problem, view: str, key: PRNGKeyArray | None) -> Mapping[str, Any]:
        """One draw for every observation of a view, `{source: (n, ...)}`; the point estimate without a key."""

    def _seen(self, view: View, source: str, x: np.ndarray) -> np.ndarray:
        """The estimate as the view shows it."""
        return view.seen(source, x)

    def _sample(self, source: str, n: int, key: PRNGKeyArray) -> Any:
        raise NotImplementedError

    @property
    def _cost(self) -> Cost:
        return Cost()

    def _check(self, problem: Problem) -> None:
        faults = []
        for s, source in problem.sources.items():
            if s not in self.shapes:
                faults.append(f"{self.title} was not fitted to a source '{s}'; those: {among(s, self.shapes)}")
            elif self.shapes[s] != source.real_shape:
                faults.append(
                    f"source '{s}' has shape {source.real_shape}, {self.title} was fitted to {self.shapes[s]}"
                )
        if faults:
            raise ProblemError(faults)


def read_header(folder: str | Path) -> dict[str, Any]:
    """The description of a saved baseline.

    **Raises:** `FileNotFoundError`; `ValueError` for anything else than a baseline this version reads.
    """
    file = Path(folder) / "baseline.json"
    if not file.is_file():
        raise FileNotFoundError(f"there is no baseline in {folder}")
    return load_json(file, _BASELINE)


def separated(
    problem: Problem,
    estimated: Mapping[str, list[str]],
    estimate: Callable[[str, PRNGKeyArray | None], dict[str, np.ndarray]],
    seen: Callable[[View, str, np.ndarray], np.ndarray],
    draws: int,
    seed: int,
    out: Path | None,
    overwrite: bool,
    cost: Cost,
) -> Separation:
    """The separation that one estimate of every observation makes, or `draws` and a mean.

    **Arguments:** `estimated`, the sources of every view that are; `estimate(view, key)`, of these in user's units,
    complex ones as pairs, the point estimate without a key; `seen(view, source, x)`, an estimate as the view shows it.
    """
    each = {s: source.real_shape for s, source in problem.sources.items()}
    shapes = {name: (len(view), {s: each[s] for s in estimated[name]}) for name, view in problem.views.items()}
    pairs, key = {s for s, source in problem.sources.items() if source.is_complex}, separation_key(seed)
    with SeparationWriter(out, shapes, draws or 1, overwrite, not draws, pairs) as writer:
        for number, (name, view) in enumerate(problem.views.items()):
            view_key = jax.random.fold_in(key, number)
            samples: dict[str, np.ndarray] = {}
            for draw in range(draws or 1):
                if estimated[name]:
                    samples = estimate(name, jax.random.fold_in(view_key, draw) if draws else None)
                whole = set(samples) == set(view.mixing)
                residual = chi_square(view, samples) if whole else np.full(len(view), np.nan)
                writer.write(name, draw, _as_draws(len(view), samples, residual, cost))
            if estimated[name]:
                mean = estimate(name, None) if draws else samples
                writer.average(name, mean, {s: seen(view, s, x) for s, x in mean.items()}, {})
    return writer.finish()


def _as_draws(n: int, samples: dict[str, np.ndarray], residual: np.ndarray, cost: Cost) -> Draws:
    bad = [~np.isfinite(x.reshape(n, -1)).all(1) for x in samples.values()]
    diverged = np.any(bad, axis=0) if bad else np.zeros(n, bool)
    return Draws(samples, residual, np.zeros(n, np.float32), np.zeros(n, np.int32), diverged, cost)


def _views_in_words(problem: Problem) -> str:
    return "; ".join(f"{names(view.mixing)} in '{name}'" for name, view in problem.views.items())
