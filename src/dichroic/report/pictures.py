"""Samples as pictures: which shapes are images, their colours, and PNG data for the page."""

import base64
import warnings
from io import BytesIO
from math import prod
from typing import Any

import numpy as np

__all__ = [
    "LARGEST",
    "SIGMAS",
    "bar",
    "finite_range",
    "is_image",
    "kind",
    "montage",
    "nan_stat",
    "picture",
    "png",
    "softening",
    "to_rgba",
]

LARGEST = 64  # pixels along a side; larger images are averaged in blocks
SIGMAS = 4.0  # where the colours of a residual end


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a sample of this shape is shown as an image: `(H, W)`, or `(H, W, C)` with up to four channels."""
    return len(shape) in (2, 3) and min(shape[:2]) >= 3 and (len(shape) == 2 or shape[2] <= 4)


def kind(shape: tuple[int, ...]) -> str:
    """How a sample is shown: "image", "line" (values against index), "pairs" (a few numbers) or "scalar"."""
    if is_image(shape):
        return "image"
    size = prod(shape)
    return "scalar" if size == 1 else "pairs" if size <= 6 else "line"


def nan_stat(function: str, x: Any, *arguments: Any, axis: int | None = None) -> np.ndarray:
    """`nanmean` and its kin, without warnings where everything is missing."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.asarray(getattr(np, function)(x, *arguments, axis=axis))


def finite_range(*arrays: np.ndarray | None, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Robust limits of all finite values; (0, 1) where there are none."""
    values = [np.ravel(x)[np.isfinite(np.ravel(x))] for x in arrays if x is not None and np.size(x)]
    joined = np.concatenate(values) if values else np.zeros(0)
    if not joined.size:
        return 0.0, 1.0
    a, b = (float(q) for q in np.percentile(joined, [low, high]))
    return (a, b) if b > a else (a - 0.5, b + 0.5)


def softening(*arrays: np.ndarray | None, limits: tuple[float, float]) -> float:
    """Where the scale of brightness turns from linear to logarithmic, above its lower end; 0 for a linear one.

    Few bright values over a background would leave all else black: where the upper end is more than 20 times as far
    from the median as values usually are, brightness is the inverse hyperbolic sine, in units of three such spreads.
    """
    values = [np.ravel(x)[np.isfinite(np.ravel(x))] for x in arrays if x is not None and np.size(x)]
    joined = np.concatenate(values) if values else np.zeros(0)
    if not joined.size:
        return 0.0
    middle = float(np.median(joined))
    spread = 1.4826 * float(np.median(np.abs(joined - middle))) or (limits[1] - limits[0]) / 1000
    return 3 * spread if limits[1] - middle > 20 * spread else 0.0


def picture(x: np.ndarray, largest: int = LARGEST, average: bool = True) -> np.ndarray:
    """A sample as `(H, W)`, or `(H, W, 3)` in colour; other channels side by side.

    Where it is larger than `largest`, blocks of pixels are averaged; or one of each is shown, which leaves the size of
    noise as it is.
    """
    x = np.abs(x) if np.iscomplexobj(x) else np.asarray(x, float)
    factor = -(-max(x.shape[:2]) // largest)
    if factor > 1 and not average:
        x = x[::factor, ::factor]
    elif factor > 1:
        h, w = (max(side // factor, 1) * factor for side in x.shape[:2])
        blocks = x[:h, :w].reshape(h // factor, factor, w // factor, factor, *x.shape[2:])
        x = nan_stat("nanmean", nan_stat("nanmean", blocks, axis=3), axis=1)
    if x.ndim == 2 or x.shape[2] == 3:
        return x
    return np.concatenate(list(np.moveaxis(x, 2, 0)), axis=1)


def to_rgba(x: np.ndarray, limits: tuple[float, float], colours: str = "gray", soft: float = 0.0) -> np.ndarray:
    """Colours of a picture, transparent where it is not finite; `soft`, of `softening`."""
    from matplotlib import colormaps

    low, high = limits
    finite = np.asarray(np.isfinite(x))
    scaled = np.clip((np.where(finite, x, low) - low) / ((high - low) or 1.0), 0, 1)
    if soft > 0 and high > low:
        scaled = np.arcsinh(scaled * (high - low) / soft) / np.arcsinh((high - low) / soft)
    if x.ndim == 3:
        rgba = np.concatenate([scaled, finite.all(2, keepdims=True)], 2)
        return (255 * rgba).round().astype(np.uint8)
    rgba = np.array(colormaps[colours](scaled, bytes=True))
    rgba[..., 3] = 255 * finite
    return rgba


def png(rgba: np.ndarray) -> str:
    """A data URI."""
    from matplotlib.image import imsave

    buffer = BytesIO()
    imsave(buffer, rgba, format="png", metadata={"Software": None})  # pyright: ignore[reportArgumentType]
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def montage(images: list[np.ndarray], columns: int, limits: tuple[float, float], colours: str = "gray") -> str:
    """Pictures of one size on a grid, with transparent gaps, as a data URI."""
    tiles = [to_rgba(x, limits, colours) for x in images]
    h, w = tiles[0].shape[:2]
    gap = max(1, w // 14)
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * (h + gap) - gap, min(columns, len(tiles)) * (w + gap) - gap, 4), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = tile
    return png(sheet)


def bar(colours: str) -> str:
    """A colour scale from left to right, as a data URI."""
    return png(to_rgba(np.linspace(0, 1, 128)[None], (0.0, 1.0), colours))
