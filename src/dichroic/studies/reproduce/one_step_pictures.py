"""One-step generators of pictures at the published sizes, of the user's own copy, and of digits in their place.

Source: Jayashankar's thesis, section 8.4 and table 8.3.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dichroic.diffusion import NetworkDenoiser, Scaling, Schedule, UNetConfig, train
from dichroic.metrics import DigitFeatures, frechet_distance
from dichroic.onestep import GeneratorPrior, GeneratorTraining, distill, gaussian_of, train_one_step
from dichroic.studies.experiments.digits import labelled_digits
from dichroic.studies.one_step import PICTURES, Pictures
from dichroic.studies.reproduce.generators import MissingData
from dichroic.studies.reproduce.study import Study

__all__ = ["OneStepPictures"]

_WAYS = {"smt": "score-of-mixture training", "smd": "score-of-mixture distillation"}
_PUBLISHED = {"cifar10": {"smt": 3.13, "smd": 2.22}, "imagenet64": {"smt": 3.23, "smd": 1.48}}
_KNOWN = 20_000  # pictures that the classifier of the distances learns from
_RATES = {way: (1e-3, 1e-3) for way in _WAYS}


def _digits(channels: tuple[int, ...], steps: int, batch: int, judged: int) -> Pictures:
    network = UNetConfig(channels=channels, blocks=(1,) * len(channels), heads=(0,) * len(channels), embedding=32)
    return Pictures(
        "", lambda _: labelled_digits(), network, (steps, 2 * steps), batch, _RATES, classes=True, judged=judged
    )


_DIGITS = {"smoke": _digits((4, 4), 2, 8, 64), "laptop": _digits((16, 32), 100, 64, 2000)}


class OneStepPictures(Study):
    """Generators of pictures by score-of-mixture training, told the class where the published one is, and distilled."""

    name, title, methods = "one-step-pictures", "One-step generators of pictures", tuple(_WAYS)

    def cells(self, scale: str, methods: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
        """Every set of pictures of a scale, in every way."""
        return {
            f"{name}, {way}, seed {seed}": {
                "pictures": name,
                "method": way,
                "seed": seed,
                "steps": kind.steps[0],
                "config": kind.config(way).model_dump(),
                "network": kind.network.model_dump(),
            }
            for name, kind in _kinds(scale).items()
            for way in methods or _WAYS
        }

    def prepare(self, scale: str, data: Path | None, seed: int) -> dict[str, tuple[Pictures, np.ndarray, np.ndarray]]:
        """Pictures and labels, of the sets that are there.

        **Raises:** `MissingData` where none is.
        """
        found = {}
        for name, kind in _kinds(scale).items():
            files = sorted(data.rglob(kind.files)) if data is not None and kind.files else []
            if files or not kind.files:
                found[name] = (kind, *kind.read(files[0] if files else Path()))
        if not found:
            raise _missing(_kinds(scale))
        return found

    def train(self, material: Any, cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A generator, and what is known of its draws."""
        if cell["pictures"] not in material:
            raise _missing([cell["pictures"]])
        begin = time.process_time()
        (kind, pictures, labels), key = material[cell["pictures"]], jax.random.key(cell["seed"])
        scaling = Scaling.of(pictures)
        x = np.asarray(scaling.to_scaled(pictures), np.float32)
        how, told = GeneratorTraining(kind.network, kind.config(cell["method"])), labels if kind.classes else None
        if cell["method"] == "smt":
            found, _ = train_one_step(x, how, key=key, labels=told)
        else:
            fresh = NetworkDenoiser.create(x.shape[1:], kind.network, key=key, base=gaussian_of(x))
            schedule = Schedule(how.config.sigma_min, how.config.sigma_max)
            training = how.config.training.model_copy(update={"steps": kind.steps[1], "rate": 1e-3})
            found, _ = distill(train(fresh, schedule, x, training, key=key)[0], x, how, key=key)
        drawn = np.asarray(GeneratorPrior(found, scaling=scaling).sample(kind.judged, key=jax.random.fold_in(key, 1)))
        features = DigitFeatures.train(pictures[:_KNOWN], labels[:_KNOWN])
        of = features(pictures[:_KNOWN])
        numbers = {"distance": float(frechet_distance(features(drawn), of)), "seconds": time.process_time() - begin}
        numbers["known"] = features.accuracy(pictures[:_KNOWN], labels[:_KNOWN])
        return numbers, {"samples": drawn[:64]}

    def table(self, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """A row per set of pictures and way, beside the published distance, which is of other features."""
        yield "| pictures | training | steps | CPU seconds | Fréchet distance here | published, other features |"
        yield "|---|---|---|---|---|---|"
        for cell in cells:
            n, way, name = cell["numbers"], cell["method"], cell["pictures"]
            published = _PUBLISHED.get(name, {}).get(way, "")
            yield (
                f"| {name} | {_WAYS[way]} | {cell['steps']} | {n['seconds']:.0f} | {n['distance']:.2f} | {published} |"
            )
        yield ""


def _missing(names: Iterable[str]) -> MissingData:
    files = " or ".join(f"{PICTURES[name].files} ({name})" for name in names)
    return MissingData(f"needs a copy of yours: a folder with {files}; pass --data FOLDER")


def _kinds(scale: str) -> dict[str, Pictures]:
    return PICTURES if scale == "paper" else {"digits": _DIGITS[scale]}
