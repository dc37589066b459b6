"""Implicit autoencoders of digits by every way to know a score (Jayashankar 2025, table 3.1): nothing is mixed."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from scipy import stats

from dichroic.studies.autoencoders import (
    SCORES,
    Training,
    annealed_evidence,
    log_likelihood,
    train_autoencoder,
)
from dichroic.studies.experiments.corrupted import mnist_images, small_images
from dichroic.studies.reproduce.generators import find_mnist
from dichroic.studies.reproduce.study import Study

__all__ = ["Autoencoders"]

# without the entropy of codes of all images in closed form there is no Gaussian one of these
METHODS = tuple(
    f"{model}-{score}" for model in ("vae", "wae") for score in SCORES if (model, score) != ("wae", "gaussian")
)
_TITLES = {
    "gaussian": "Gaussian encoder",
    "stein": "Stein gradient",
    "spectral": "spectral Stein",
    "sliced": "sliced score matching",
    "directions": "principal directions, half of them",
    "residual": "sliced, two levels",
    "lifted": "sliced, lifted",
}
# of MNIST at 28 x 28, nats: vae and wae, 8 and 32 numbers of a code
_PUBLISHED = {
    "vae-gaussian": {8: 96.54, 32: 87.73},
    "vae-stein": {8: 95.95, 32: 93.23},
    "vae-spectral": {8: 96.14, 32: 94.54},
    "vae-sliced": {8: 95.30, 32: 87.60},
    "vae-directions": {8: 93.91, 32: 87.40},
    "wae-stein": {8: 98.13, 32: 90.66},
    "wae-spectral": {8: 98.05, 32: 91.47},
    "wae-sliced": {8: 98.00, 32: 89.39},
    "wae-directions": {8: 97.01, 32: 91.31},
}


class Size(NamedTuple):
    """Images (MNIST, its pixels in squares of `pool`, or small digits), networks, training, and the estimate of the
    evidence; `seeds`, by the numbers of a code.
    """

    mnist: bool
    pool: int
    seeds: Mapping[int, int]
    training: Mapping[str, Any]
    tested: int
    chains: int
    levels: int
    leapfrog: int


SIZES = {
    "smoke": Size(False, 1, {2: 1}, {"width": 8, "steps": 8, "batch": 8, "draws": 4}, 4, 2, 8, 2),
    "laptop": Size(True, 2, {8: 3, 32: 1}, {"width": 64, "steps": 1000, "batch": 64, "draws": 10}, 64, 4, 100, 4),
    "paper": Size(True, 1, {8: 3, 32: 3}, {}, 1000, 16, 1000, 10),
}


class Autoencoders(Study):
    """Encoders of which one draws and does not know the density, by every way to know the score of their codes."""

    name, title, methods = "score-autoencoders", "Implicit autoencoders of digits", METHODS

    def cells(self, scale: str, methods: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
        """Every method with as many seeds as the scale has."""
        size = SIZES[scale]
        evidence = {"tested": size.tested, "evidence": [size.chains, size.levels, size.leapfrog]}
        return {
            f"{m}, {d} numbers, seed {s}": {
                "method": m,
                "latent": d,
                "seed": s,
                "training": dict(size.training),
                **evidence,
            }
            for d, seeds in size.seeds.items()
            for s in range(seed, seed + seeds)
            for m in methods or METHODS
        }

    def prepare(self, scale: str, data: Path | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Images to learn from, and binarised ones to be judged by."""
        return _images(SIZES[scale], data)

    def train(
        self, material: tuple[np.ndarray, np.ndarray], cell: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """An autoencoder, and what its decoder says of images that it has not seen."""
        (images, tested), d = material, cell["latent"]
        model, score = cell["method"].split("-")
        begun, key = time.process_time(), jax.random.key(cell["seed"])
        decoder = train_autoencoder(images, Training(model, score, d, **cell["training"]), key=key)  # pyright: ignore
        keys = jax.random.split(jax.random.key(0), len(tested))
        found = np.asarray(_evidence(decoder, tested, keys, d, tuple(cell["evidence"])))
        return {
            "images": len(images),
            "pixels": images.shape[1],
            "negative_log_likelihood": float(-found.mean()),
            "cpu_seconds": time.process_time() - begun,
        }, {}

    def table(self, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """A row per method, over its seeds, beside the published number and the difference to sliced score matching,
        seed by seed.
        """
        yield from _table([{**cell, **cell["numbers"]} for cell in cells])


@eqx.filter_jit
def _evidence(decoder, x, keys, d, settings):
    chains, levels, leapfrog = settings
    how = {"chains": chains, "levels": levels, "leapfrog": leapfrog}
    return jax.lax.map(
        lambda given: annealed_evidence(partial(log_likelihood, decoder, given[0]), d, key=given[1], **how),
        (x, keys),
        batch_size=min(len(x), 64),
    )


def _images(size: Size, data: Path | None) -> tuple[np.ndarray, np.ndarray]:
    learned, tested = mnist_images(find_mnist(data), 60_000, size.tested) if size.mnist else small_images(359, 0)

    def flat(x: np.ndarray) -> np.ndarray:
        n, a, b = len(x), x.shape[1] // size.pool, x.shape[2] // size.pool
        return x.reshape(n, a, size.pool, b, size.pool).mean((2, 4)).reshape(n, -1).astype(np.float32)

    drawn = np.random.default_rng(0).uniform(size=(size.tested, flat(tested).shape[1]))
    return flat(learned), (drawn < flat(tested)[: size.tested]).astype(np.float32)


def _table(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    one = cells[0]
    yield (
        f"Negative log-likelihood of {one['tested']} binarised images of {one['pixels']} pixels in nats, the mean over "
        "seeds with its 95 % interval by Student's t, by annealed importance sampling "
        f"({one['evidence'][0]} chains, {one['evidence'][1]} levels, {one['evidence'][2]} leapfrog steps); "
        "*less sliced*: the difference to sliced score matching of the same seed. Published: 28 x 28 pixels, 200,000 "
        "steps of 128 (Jayashankar 2025, table 3.1)."
    )
    training = ", ".join(f"{key} {value}" for key, value in one["training"].items())
    yield from (
        "",
        f"Trained here with {training or 'the published settings'} on {one['images']:,} images.",
        "",
    )
    for d in sorted({c["latent"] for c in cells}):
        found = {(c["method"], c["seed"]): c["negative_log_likelihood"] for c in cells if c["latent"] == d}
        yield f"| {d} numbers | seeds | here | less sliced | published | CPU s of a seed |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for method in METHODS:
            mine = {s: v for (m, s), v in found.items() if m == method}
            if not mine:
                continue
            model, score = method.split("-")
            sliced = [v - found[f"{model}-sliced", s] for s, v in mine.items() if (f"{model}-sliced", s) in found]
            cost = np.mean([c["cpu_seconds"] for c in cells if (c["method"], c["latent"]) == (method, d)])
            less = "" if score == "sliced" or not sliced else _interval(sliced, "+")
            published = _PUBLISHED.get(method, {}).get(d, "")
            title = f"{model.upper()}, {_TITLES[score]}"
            yield f"| {title} | {len(mine)} | {_interval(list(mine.values()))} | {less} | {published} | {cost:.0f} |"
        yield ""


def _interval(values: Sequence[float], sign: str = "") -> str:
    mean, n = np.mean(values), len(values)
    if n < 2:
        return f"{mean:{sign}.1f}"
    return f"{mean:{sign}.1f} ± {stats.t.ppf(0.975, n - 1) * stats.sem(values):.1f}"
