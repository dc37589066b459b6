"""One-step generators of laws in the plane and of digits by every way there is to one: nothing is mixed.

Source: Jayashankar's thesis, chapter 8, and the known answers that go with it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dichroic.diffusion import (
    Denoiser,
    DenoiserPrior,
    Denoising,
    Heun,
    LiftedDenoising,
    MLPConfig,
    NetworkDenoiser,
    ResidualDenoising,
    Scaling,
    Schedule,
    train,
)
from dichroic.metrics import energy_distance, frechet_distance
from dichroic.onestep import gaussian_of
from dichroic.studies.experiments.digits import labelled_digits
from dichroic.studies.one_step import LAWS, TAUGHT, WAYS, as_table, configuration, draw, draw_rows, levels
from dichroic.studies.reproduce.features import features_of
from dichroic.studies.reproduce.study import Study, shown

__all__ = ["OneStep"]

_SHOWN = 1500  # samples that are kept for the figure


class Size(NamedTuple):
    """Of a scale: steps in the plane and on digits, batch, width and depth of networks, samples judged, laws."""

    plane: int
    digits: int
    batch: int
    width: int
    depth: int
    judged: int
    laws: Sequence[str]


SIZES = {
    "smoke": Size(2, 2, 16, 8, 1, 64, ("ring",)),
    "laptop": Size(400, 300, 128, 128, 3, 4000, tuple(LAWS)),
    "paper": Size(8000, 20_000, 256, 128, 3, 10_000, tuple(LAWS)),
}
_EVERY = ("smd", "dmd", "smt", "gan", "diffusion-gan", "consistency")
_ABLATED = ("smt, t-only weight", "smt, alpha 0 and 1", "smt, GAN term")
# diffusion models by other objectives, with as many networks as they have levels
_DIFFUSION = {
    "diffusion, lifted": LiftedDenoising(),
    "diffusion, two levels": ResidualDenoising(),
    "diffusion, lifted, two levels": LiftedDenoising(levels=2),
}
# what is trained of each law, in the order of the tables
_OF = {
    "ring": (*_EVERY, *_ABLATED),
    "roll": ("smt", "gan", "diffusion-gan", "consistency"),
    "grid": ("smd", "dmd", "gan", "consistency"),
    "digits": ("teacher", *_DIFFUSION, *_EVERY, "stochastic"),
}
_ORDER = [(law, way) for law, ways in _OF.items() for way in ways]
_EVALUATIONS = {"consistency": (1, 2, 4), "stochastic": (1, 2, 4)}
_HEUN = (4, 8, 18)  # steps of the diffusion teacher: 8 to 36 evaluations


class OneStep(Study):
    """Generators that are trained from samples or distilled, and what came out of them."""

    name, title, methods = "one-step", "One-step generators", (*WAYS, *_DIFFUSION)

    def cells(self, scale: str, methods: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
        """Every law with its ways; the digits' teacher with those that are judged beside it."""
        size = SIZES[scale]
        both = {"seed": seed, "batch": size.batch, "depth": size.depth, "judged": size.judged}
        plane = {**both, "steps": size.plane, "width": size.width}
        digits = {**both, "steps": size.digits, "width": 2 * size.width}
        return {
            f"{law}, {way}, seed {seed}": {"law": law, "method": way, **(digits if law == "digits" else plane)}
            for law, way in _ORDER
            if law in (*size.laws, "digits")
            and (not methods or way in methods or (way == "teacher" and not {*methods}.isdisjoint(_OF[law])))
        }

    def prepare(self, scale: str, data: Path | None, seed: int) -> "Digits":
        """The digits; laws in the plane are drawn where they are trained."""
        return Digits(SIZES[scale], seed)

    def train(self, material: "Digits", cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A generator, or the diffusion model beside those of digits."""
        if cell["method"] in ("teacher", *_DIFFUSION):
            return material.judge_diffusion(cell["method"])
        return material.judge(cell) if cell["law"] == "digits" else _plane(cell)

    def table(self, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """The laws in the plane, and the digits."""
        yield from as_table(_sorted(cells))

    def draw(self, cells: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
        """Samples of the laws, the ablations as curves, and the digits."""
        return draw_rows([{**cell, **shown(folder, cell)} for cell in _sorted(cells)], folder)


def _sorted(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(cells, key=lambda cell: (_ORDER.index((cell["law"], cell["method"])), cell["seed"]))


class Digits:
    """Small digits in the units that generators are trained in, how far samples are from them, and their teacher."""

    def __init__(self, size: Size, seed: int):
        self.size, self.seed, self.key = size, seed, jax.random.key(seed)
        pixels = labelled_digits()[0].reshape(-1, 64)
        self.scaling = Scaling(float(pixels.mean()), float(pixels.std()))
        self.x = np.asarray(self.scaling.to_scaled(pixels), np.float32)

    @cached_property
    def teacher(self) -> tuple[Denoiser, float]:
        """What generators of digits are distilled from; and the CPU seconds it took."""
        return self.diffusion(Denoising())

    def diffusion(self, objective: Any) -> tuple[Denoiser, float]:
        """A diffusion model, trained in twice as many steps as a generator; and the CPU seconds it took."""
        begin = time.process_time()
        network = MLPConfig(width=2 * self.size.width, depth=self.size.depth, conditioning="film")
        fresh = NetworkDenoiser.create(
            self.x.shape[1:], network, key=self.key, base=gaussian_of(self.x), objective=objective
        )
        config = configuration(2 * self.size.digits, self.size.batch)
        schedule, x = Schedule(config.sigma_min, config.sigma_max), jax.device_put(self.x)
        found, _ = train(fresh, schedule, x, config.training, key=self.key, objective=objective)
        return found, time.process_time() - begin

    @cached_property
    def seen(self) -> np.ndarray:
        """Features of all digits."""
        return self.features(self.x)

    def features(self, x: np.ndarray) -> np.ndarray:
        """Features of samples."""
        classifier = features_of("digits", None)
        assert classifier is not None
        return classifier(np.asarray(self.scaling.to_user(x)).reshape(-1, 8, 8, 1))

    def distance(self, x: np.ndarray) -> float:
        """Fréchet distance of features to those of all digits."""
        return float(frechet_distance(self.features(x), self.seen))

    def judge_diffusion(self, way: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The distances of a diffusion model's draws, and that of two halves of the data."""
        (teacher, spent), size = self.diffusion(_DIFFUSION[way]) if way in _DIFFUSION else self.teacher, self.size
        config = configuration(size.digits, size.batch)
        prior = DenoiserPrior(teacher, Schedule(config.sigma_min, config.sigma_max))
        found, x = {}, np.zeros((0, self.x.shape[1]))
        for steps in _HEUN[: 1 if size.judged < 100 else None]:
            x = np.asarray(prior.sample(size.judged, key=jax.random.fold_in(self.key, 2), step=Heun(), steps=steps))
            found[f"at {2 * steps}"] = self.distance(x)
        half = np.random.default_rng(self.seed).permutation(len(self.x))[: len(self.x) // 2]
        found["floor"] = float(frechet_distance(self.seen[half], np.delete(self.seen, half, axis=0)))
        return {**found, "seconds": spent}, {"samples": x[:64], "curve": np.zeros(0)}

    def judge(self, cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A generator of digits: its distance for every number of evaluations."""
        teacher = self.teacher[0] if cell["method"] in TAUGHT else None
        found, curve, seconds = _trained(cell, teacher, self.x)
        drawn = {n: _drawn(found, cell, n) for n in _EVALUATIONS.get(cell["method"], (1,))}
        scores = {f"at {n}": self.distance(x) for n, x in drawn.items()}
        return {**scores, "seconds": seconds}, {"samples": drawn[max(drawn)][:64], "curve": curve}


def _plane(cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    law, rng, judged = LAWS[cell["law"]](), np.random.default_rng(cell["seed"]), cell["judged"]
    data, fresh, again = (law.draw(rng, n).astype(np.float32) for n in (20_000, judged, judged))
    known = jax.tree.map(lambda a: np.asarray(a, np.float32), law.teacher) if cell["method"] in TAUGHT else None
    found, curve, seconds = _trained(cell, known, data)
    x = _drawn(found, cell, 1)
    scores = {**law.scores(x, fresh), "seconds": seconds, "floor": float(energy_distance(again, fresh))}
    return scores, {"samples": x[:_SHOWN], "curve": curve}


def _trained(cell: Mapping[str, Any], teacher: Any, data: np.ndarray) -> tuple[Any, np.ndarray, float]:
    """A generator, what was watched in training, and the CPU seconds it took."""
    begin = time.process_time()
    network = MLPConfig(width=cell["width"], depth=cell["depth"], conditioning="film")
    config, key = configuration(cell["steps"], cell["batch"]), jax.random.key(cell["seed"])
    found, watched = WAYS[cell["method"]](teacher, data, network, config, key)
    return found, np.asarray(watched, np.float32), time.process_time() - begin


def _drawn(found: Any, cell: Mapping[str, Any], evaluations: int) -> np.ndarray:
    """The draws that are judged."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(cell["seed"]), 1), cell["judged"])
    return np.asarray(draw(found, keys, levels(configuration(cell["steps"], cell["batch"]), evaluations)))
