"""The cells of tables of pictures: images, and small curves for what is not an image."""

from html import escape

import numpy as np

from dichroic.report.describe import number
from dichroic.report.pictures import bar, is_image, picture, png, to_rgba
from dichroic.report.stretch import Scale

__all__ = ["cell", "colour_bar", "sparkline"]

_POINTS = 160


def cell(x: np.ndarray, scale: Scale, alt: str, average: bool = True) -> str:
    """A sample as an `<img>`, or as a small curve when its shape is not that of an image."""
    if not is_image(x.shape):
        return sparkline(np.asarray(x, float).ravel(), scale.limits, alt)
    drawn = png(to_rgba(picture(x, average=average), scale.limits, scale.colours, scale.soft))
    return f'<img class="{f"px {scale.key}".strip()}" src="{drawn}" alt="{escape(alt)}">'


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


def colour_bar(label: str, scale: Scale, unit: str = "") -> str:
    """A labelled colour scale, with the stretches that it has beside its own."""
    low, high = (number(x, 2) for x in scale.limits)
    what = escape(label) + (' <span class="auto">(asinh)</span>' if scale.soft > 0 else "")
    unit = f" {escape(unit)}" if unit else ""
    return (
        f'<span class="bar"><span class="what">{what}</span><span class="end">{low}</span>'
        f'<img src="{bar(scale.colours)}" alt=""><span class="end">{high}{unit}</span>{scale.filters()}</span>'
    )
