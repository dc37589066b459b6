"""Residuals of draws as figures: how large they are, and whether they have a scale of their own."""

from typing import Any

import numpy as np

from dichroic.report.material import Separated
from dichroic.report.pictures import SIGMAS, is_image
from dichroic.report.residuals import as_drawn, residuals
from dichroic.report.theme import INK, Figure, colour, panel

__all__ = ["power_by_frequency", "residual_figures"]

_OBSERVATIONS = 400
_LENGTH = 16  # entries of a series, and pixels of an image's side by half of it, from which power is shown


def residual_figures(separated: Separated) -> list[Figure]:
    """Of one draw of every observation; none without all the sources of the view, and of draws that were clipped."""
    view = separated.view
    if view is None or not set(view.mixing) <= set(separated.samples):
        return []
    index = np.arange(min(_OBSERVATIONS, len(separated)))
    r = residuals(view, separated.unmixed(index), index)
    if not as_drawn(separated, r, index):
        return []
    observed = np.ones(r.shape, bool) if view.observed is None else view.observed[index]
    figures = [] if is_image(view.event_shape) else [_histogram(separated.name, r[observed])]
    axis = separated.labels.axis(0)
    unordered = axis.labels is not None and axis.labels.dtype.kind not in "iuf"  # genes, say
    series = len(view.event_shape) == 1 and view.event_shape[0] >= _LENGTH and not unordered
    if series or (is_image(view.event_shape) and min(view.event_shape[:2]) >= _LENGTH // 2):
        figures.append(_power(separated, r, observed))
    return figures


def _histogram(name: str, r: np.ndarray) -> Figure:
    """All entries together, against the normal distribution."""
    r = np.concatenate([np.real(r), np.imag(r)]) if np.iscomplexobj(r) else r
    r = r[np.isfinite(r)]
    beyond = int((np.abs(r) > SIGMAS).sum())

    def draw(axes: Any) -> None:
        edges = np.linspace(-SIGMAS, SIGMAS, 49)
        width = edges[1] - edges[0]
        heights = np.histogram(r, edges)[0] / max(len(r), 1) / width
        axes.bar(edges[:-1], heights, width, align="edge", color=colour(0), alpha=0.75, label="residuals")
        x = np.linspace(-SIGMAS, SIGMAS, 161)
        axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=1.4, label="noise alone")
        axes.set_xlabel("residual of one draw [σ]")
        axes.set_ylabel("density")

    more = f" ({beyond / len(r):.2%} lie beyond ±{SIGMAS:.0f} σ)" if beyond else ""
    caption = (
        "What a draw leaves unexplained, all entries together, in units of the noise (bars), and pure noise (line); "
        f"good is bars that follow the line{more}."
    )
    return Figure(f'<div class="panels">{panel(draw, f"Residuals of {name}", legend=True)}</div>', caption, "Residuals")


def power_by_frequency(r: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Mean power of residuals by frequency, :math:`|\hat r|^2 / m` with `m` observed values: 1 for white noise of
    variance 1.

    **Arguments:** `r`, shape `(n, T)` or `(n, H, W, ...)`, zero where nothing was `observed`.

    **Returns** frequencies in cycles per entry, the power around each, and how many independent terms it is a mean of.
    """
    dims = 1 if r.ndim == 2 else 2
    axes = tuple(range(1, 1 + dims))
    m = np.maximum(observed.sum(axes, keepdims=True), 1)
    power = np.abs(np.fft.fftn(r, axes=axes)) ** 2 / m / (2 if np.iscomplexobj(r) else 1)
    power = power.reshape(len(r), *r.shape[1 : 1 + dims], -1)
    kept = np.isfinite(power).all(axes)
    grid = np.meshgrid(*(np.fft.fftfreq(side) for side in r.shape[1 : 1 + dims]), indexing="ij")
    frequency = np.sqrt(sum(g**2 for g in grid))
    bins = max(4, min(48, max(r.shape[1 : 1 + dims]) // 2))
    place = np.minimum((frequency * 2 * bins).astype(int), bins - 1)
    found, terms, centres = np.zeros(bins), np.zeros(bins), (np.arange(bins) + 0.5) / 2 / bins
    mean = np.moveaxis(power, -1, 1)[kept].mean(0) if kept.any() else np.full(frequency.shape, np.nan)
    for k in range(bins):
        inside = place == k
        if inside.any():
            found[k], centres[k] = mean[inside].mean(), frequency[inside].mean()
            terms[k] = inside.sum() * kept.sum() / (1 if np.iscomplexobj(r) else 2)  # real data: each wave twice
    return centres[terms > 0], found[terms > 0], terms[terms > 0]


def _power(separated: Separated, r: np.ndarray, observed: np.ndarray) -> Figure:
    frequency, power, terms = power_by_frequency(r, observed)
    axis = separated.labels.axis(0)
    series = r.ndim == 2
    hertz = series and bool(axis.step) and axis.unit == "s"
    frequency = frequency / axis.step if hertz and axis.step else frequency

    def draw(axes: Any) -> None:
        width = 2 / np.sqrt(terms)
        axes.fill_between(frequency, 1 - width, 1 + width, color=INK, alpha=0.12, linewidth=0, label="noise alone")
        axes.plot(frequency, power, color=colour(0), label="residuals")
        axes.set_xlabel("frequency [Hz]" if hertz else f"waves per {'entry' if series else 'pixel'}")
        axes.set_ylabel("power [σ²]")
        top = float(np.nanmax(power)) if np.isfinite(power).any() else 1.0
        axes.set_ylim(0, max(1.5, 1.1 * top))

    caption = (
        "Power of what a draw leaves unexplained, by frequency, averaged over observations; good is within the band "
        "around 1, in which noise alone lies 19 times in 20. A bump is something that no source explains, a dip noise "
        "that was taken for signal."
    )
    name = f"Power of the residuals of {separated.name}"
    return Figure(f'<div class="panels">{panel(draw, name, legend=True)}</div>', caption, "Power of residuals")
