"""The cells of tables of pictures: images, and small curves for what is not an image."""

from html import escape

import numpy as np

from dichroic.report.describe import number
from dichroic.report.pictures import bar, is_image, picture, png, to_rgba

__all__ = ["cell", "colour_bar", "sparkline"]

_POINTS = 160


def cell(
    x: np.ndarray,
    limits: tuple[float, float],
    alt: str,
    colours: str = "gray",
    average: bool = True,
    soft: float = 0.0,
) -> str:
    """A sample as an `<img>`, or as a small curve when its shape is not that of an image."""
    if not is_image(x.shape):
        return sparkline(np.asarray(x, float).ravel(), limits, alt)
    return (
        f'<img class="px" src="{png(to_rgba(picture(x, average=average), limits, colours, soft))}" alt="{escape(alt)}">'
    )


def sparkline(y: np.ndarray, limits: tuple[float, float], alt: str) -> str:
    """Values against index, without axes."""
    if len(y) > _POINTS:
        y = y[np.linspace(0, len(y) - 1, _POINTS).round().astype(int)]
    low, high = limits
    x = np.linspace(2, 98, len(y)) if len(y) > 1 else np.array([50.0])
    height = 46 - 42 * (np.clip(y, low, high) - low) / ((high - low) or 1.0)
    pieces, pen = [], "M"
    for a, b in zip(x, height, strict=True):
        if np.isfinite(b):
            pieces.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        else:
            pen = "M"
    return (
        f'<svg class="spark" role="img" aria-label="{escape(alt)}" viewBox="0 0 100 48" preserveAspectRatio="none">'
        f'<path d="{"".join(pieces)}"/></svg>'
    )


def colour_bar(label: str, limits: tuple[float, float], colours: str, unit: str = "", soft: float = 0.0) -> str:
    """A labelled colour scale; `soft`, of `softening`."""
    label = f"{label} (asinh)" if soft > 0 else label
    low, high = (number(x, 2) for x in limits)
    unit = f" {escape(unit)}" if unit else ""
    return (
        f'<span class="bar"><span class="what">{escape(label)}</span><span class="end">{low}</span>'
        f'<img src="{bar(colours)}" alt=""><span class="end">{high}{unit}</span></span>'
    )
