"""Crops of a photograph, by default scikit-image's grass (CC0), read from the installed package."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dichroic.studies.experiments.photographs import photograph

__all__ = ["BANDS", "crop", "grass_bands", "grass_squares", "turn"]

BANDS = (0.6, 0.2, 0.2)  # shares of the width: background view, training mixtures, held out


def grass_bands(
    size: int,
    scales: Sequence[float] = (1.0,),
    bands: Sequence[float] = BANDS,
    image: np.ndarray | None = None,
    rounds: int = 1,
) -> list[list[np.ndarray]]:
    """The photograph, cut into bands of columns and then resized to each of `scales`: bands share no pixel.

    **Arguments:** `size`, of the crops to be taken: a copy too small for variety (under `size + 8` pixels) is left out;
    `bands`, shares of the width; `image`, 8-bit grey, to take in place of the photograph; `rounds`, how often the bands
    take turns across the photograph: its light changes from side to side, and with one round so does the population.

    **Returns** for each band its copies, 8-bit grey, one per scale and round.
    """
    image, bands = photograph("grass.png") if image is None else image, list(bands)
    edges = np.rint(np.cumsum([0.0, *bands * rounds]) / (sum(bands) * rounds) * image.shape[1]).astype(int)
    cut: list[list[np.ndarray]] = [[] for _ in bands]
    for number, (low, high) in enumerate(pairwise(edges)):
        cut[number % len(bands)] += _copies(image[:, low:high], size, scales)
    return cut


def grass_squares(
    size: int,
    scales: Sequence[float] = (1.0,),
    shares: Sequence[float] = BANDS,
    image: np.ndarray | None = None,
    *,
    rows: int = 6,
    seed: int = 0,
) -> list[list[np.ndarray]]:
    """The photograph, cut into `rows` times as many squares, which are dealt at random to parts that share no pixel.

    Parts see the same light wherever it changes, where bands of large crops cannot take turns often enough for that.

    **Arguments:** `size`, of the crops to be taken, and `scales` as for `grass_bands`; `shares`, of the squares that
    each part gets; `seed`, of the deal.

    **Returns** for each part its copies, 8-bit grey, one per scale and square.
    """
    image = photograph("grass.png") if image is None else image
    edges = [np.rint(np.linspace(0, length, rows + 1)).astype(int) for length in image.shape]
    squares = [image[a:b, c:d] for a, b in pairwise(edges[0]) for c, d in pairwise(edges[1])]
    ends = np.rint(np.cumsum(shares) / sum(shares) * len(squares)).astype(int)
    dealt = np.split(np.random.default_rng(seed).permutation(len(squares)), ends[:-1])
    return [[copy for k in part for copy in _copies(squares[k], size, scales)] for part in dealt]


def _copies(part: np.ndarray, size: int, scales: Sequence[float]) -> list[np.ndarray]:
    """A part of a photograph at several scales, but for those that leave crops no variety."""
    from PIL import Image

    whole = Image.fromarray(part)
    shapes = {scale: (int(whole.width * scale), int(whole.height * scale)) for scale in scales}
    copies = [
        np.asarray(whole.resize(shape, Image.Resampling.LANCZOS) if scale != 1 else whole)
        for scale, shape in shapes.items()
        if min(shape) >= size + 8
    ]
    if not copies:
        raise ValueError(f"{whole.height} x {whole.width} pixels are too small for crops of {size} at {scales}")
    return copies


def crop(
    rng: np.random.Generator, copies: Sequence[np.ndarray], n: int, size: int, symmetries: bool = False
) -> np.ndarray:
    """Crops at uniformly random places of all copies of one band, if asked turned and mirrored at random.

    **Returns** 8-bit grey, shape `(n, size, size)`.
    """
    windows = [np.lib.stride_tricks.sliding_window_view(copy, (size, size)) for copy in copies]
    places = np.array([w.shape[0] * w.shape[1] for w in windows])
    at = rng.integers(places.sum(), size=n)
    which = np.searchsorted(np.cumsum(places), at, side="right")
    at -= np.concatenate([[0], np.cumsum(places)])[which]
    out = np.empty((n, size, size), np.uint8)
    for k, window in enumerate(windows):
        chosen = which == k
        out[chosen] = window[np.unravel_index(at[chosen], window.shape[:2])]
    return turn(rng, out) if symmetries else out


def turn(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Square images, shape `(n, size, size)`, each turned and mirrored at random, in place."""
    turns, mirrored = rng.integers(4, size=len(images)), rng.random(len(images)) < 0.5
    images[mirrored] = images[mirrored].swapaxes(1, 2)
    for k in (1, 2, 3):
        images[turns == k] = np.rot90(images[turns == k], k, axes=(1, 2))
    return images
