"""What is trained of what, at every scale; a row that is done is kept in a file, and not done again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dichroic.diffusion import Denoiser, DenoiserPrior, Heun, MLPConfig, NetworkDenoiser, Scaling, Schedule, train
from dichroic.metrics import energy_distance, frechet_distance
from dichroic.onestep import gaussian_of
from dichroic.store import Format, StoreError, load_arrays, reading, save_arrays
from dichroic.studies.one_step.laws import LAWS
from dichroic.studies.one_step.ways import TAUGHT, WAYS, configuration, draw, levels
from dichroic.studies.reproduce.features import features_of

__all__ = ["PARTS", "Row", "Size", "rows", "sizes"]

_FORMAT = Format("dichroic one-step row", 1)
_SHOWN = 1500  # samples that a row keeps for the figure
PARTS = ("laws", "ablations", "digits")


@dataclass(frozen=True)
class Size:
    """Of a scale: steps in the plane and on digits, batch, width and depth of networks, samples judged, laws."""

    plane: int
    digits: int
    batch: int
    width: int
    depth: int
    judged: int
    laws: Sequence[str]


sizes = {
    "smoke": Size(2, 2, 16, 8, 1, 64, ("ring",)),
    "laptop": Size(400, 300, 128, 128, 3, 4000, tuple(LAWS)),
    "paper": Size(8000, 20_000, 256, 128, 3, 10_000, tuple(LAWS)),
}

_OF = {
    "ring": ("smd", "dmd", "smt", "gan", "diffusion-gan", "consistency"),
    "roll": ("smt", "gan", "diffusion-gan", "consistency"),
    "grid": ("smd", "dmd", "gan", "consistency"),
    "digits": ("smd", "dmd", "smt", "gan", "diffusion-gan", "consistency", "stochastic"),
}
_ABLATED = ("smt, t-only weight", "smt, alpha 0 and 1", "smt, GAN term")
_EVALUATIONS = {"consistency": (1, 2, 4), "stochastic": (1, 2, 4)}
_HEUN = (4, 8, 18)  # steps of the diffusion teacher: 8 to 36 evaluations


@dataclass(frozen=True)
class Row:
    """One generator of one law: its scores, samples to be shown, and what was watched in training."""

    law: str
    way: str
    scores: dict[str, float]
    samples: np.ndarray
    curve: np.ndarray


def rows(
    scale: str, folder: Path, *, seed: int, methods: Sequence[str], parts: Sequence[str], report: Callable[[str], None]
) -> list[Row]:
    """All rows of a scale that are wanted, and those besides that some other call has left in the folder."""
    size, found = sizes[scale], []
    every = [("laws", law, way) for law in size.laws for way in _OF[law]]
    every += [("ablations", "ring", way) for way in _ABLATED]
    every += [("digits", "digits", way) for way in ("teacher", *_OF["digits"])]
    teacher: dict[str, Any] = {}
    for part, law, way in every:
        chosen = not methods or way in methods or (way == "teacher" and not {*methods}.isdisjoint(_OF[law]))
        wanted = part in parts and chosen
        file = folder / f"{law}-{way.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
        row = _kept(file)
        if row is None and wanted:
            report(f"{law}, {way}")
            make = _digits if law == "digits" else _plane
            row = make(law, way, size, seed, teacher)
            content = {"law": law, "way": way, "scores": row.scores}
            folder.mkdir(parents=True, exist_ok=True)
            save_arrays(file, {"samples": row.samples, "curve": row.curve}, content, _FORMAT)
        if row is not None:
            found.append(row)
    return found


def _kept(file: Path) -> Row | None:
    if not file.is_file():
        return None
    try:
        with reading(file):
            arrays, content = load_arrays(file, _FORMAT)
            return Row(content["law"], content["way"], content["scores"], arrays["samples"], arrays["curve"])
    except StoreError:
        return None


def _plane(name: str, way: str, size: Size, seed: int, teacher: dict[str, Any]) -> Row:
    law, rng, key = LAWS[name](), np.random.default_rng(seed), jax.random.key(seed)
    data, fresh, again = (law.draw(rng, n).astype(np.float32) for n in (20_000, size.judged, size.judged))
    known = jax.tree.map(lambda a: np.asarray(a, np.float32), law.teacher) if way in TAUGHT else None
    network = MLPConfig(width=size.width, depth=size.depth, conditioning="film")
    found, curve, seconds = _trained(way, known, data, network, size, size.plane, key)
    x = _drawn(found, size, size.plane, key, 1)
    scores = {**law.scores(x, fresh), "seconds": seconds, "steps": size.plane}
    return Row(name, way, {**scores, "floor": float(energy_distance(again, fresh))}, x[:_SHOWN], curve)


def _digits(name: str, way: str, size: Size, seed: int, kept: dict[str, Any]) -> Row:
    from sklearn.datasets import load_digits

    pixels = np.asarray(load_digits().data, np.float32) / 16  # pyright: ignore
    scaling = Scaling(float(pixels.mean()), float(pixels.std()))
    data, key = np.asarray(scaling.to_scaled(pixels), np.float32), jax.random.key(seed)
    network = MLPConfig(width=2 * size.width, depth=size.depth, conditioning="film")
    features = features_of("digits", None)
    assert features is not None

    def distance(x: np.ndarray) -> float:
        return float(frechet_distance(features(np.asarray(scaling.to_user(x)).reshape(-1, 8, 8, 1)), seen))

    seen = features(pixels.reshape(-1, 8, 8, 1))
    config = configuration(size.digits, size.batch)
    if way in TAUGHT or way == "teacher":
        teacher, spent = kept.get("digits") or _teacher(data, network, size, key)
        kept["digits"] = teacher, spent
    if way == "teacher":
        prior = DenoiserPrior(teacher, Schedule(config.sigma_min, config.sigma_max))
        found, x = {}, np.zeros((0, data.shape[1]))
        for steps in _HEUN[: 1 if size.judged < 100 else None]:
            x = np.asarray(prior.sample(size.judged, key=jax.random.fold_in(key, 2), step=Heun(), steps=steps))
            found[f"at {2 * steps}"] = distance(x)
        half = np.random.default_rng(seed).permutation(len(pixels))[: len(pixels) // 2]
        found["floor"] = float(frechet_distance(seen[half], np.delete(seen, half, axis=0)))
        return Row(name, way, {**found, "seconds": spent, "steps": 2 * size.digits}, x[:64], np.zeros(0))
    known = teacher if way in TAUGHT else None
    scores: dict[str, float] = {}
    found, curve, seconds = _trained(way, known, data, network, size, size.digits, key)
    x = np.zeros((0, data.shape[1]))
    for evaluations in _EVALUATIONS.get(way, (1,)):
        x = _drawn(found, size, size.digits, key, evaluations)
        scores[f"at {evaluations}"] = distance(x)
    return Row(name, way, {**scores, "seconds": seconds, "steps": size.digits}, x[:64], curve)


def _teacher(data: np.ndarray, network: MLPConfig, size: Size, key: Any) -> tuple[Denoiser, float]:
    """A diffusion model of the digits, trained in twice as many steps as a generator; and the CPU seconds it took."""
    begin = time.process_time()
    fresh = NetworkDenoiser.create(data.shape[1:], network, key=key, base=gaussian_of(data))
    config = configuration(2 * size.digits, size.batch)
    schedule = Schedule(config.sigma_min, config.sigma_max)
    found, _ = train(fresh, schedule, jax.device_put(data), config.training, key=key)
    return found, time.process_time() - begin


def _trained(
    way: str, teacher: Any, data: np.ndarray, network: MLPConfig, size: Size, steps: int, key: Any
) -> tuple[Any, np.ndarray, float]:
    """A generator, what was watched in training, and the CPU seconds it took."""
    begin = time.process_time()
    found, watched = WAYS[way](teacher, data, network, configuration(steps, size.batch), key)
    return found, np.asarray(watched, np.float32), time.process_time() - begin


def _drawn(found: Any, size: Size, steps: int, key: Any, evaluations: int) -> np.ndarray:
    """The draws that are judged."""
    keys = jax.random.split(jax.random.fold_in(key, 1), size.judged)
    return np.asarray(draw(found, keys, levels(configuration(steps, size.batch), evaluations)))
