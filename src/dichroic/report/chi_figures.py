"""Histograms of chi-square per observation, against what the noise alone would give."""

from typing import Any

import numpy as np

from dichroic.report.pictures import finite_range
from dichroic.report.residuals import ChiSquare
from dichroic.report.theme import INK, Figure, colour, panel

__all__ = ["chi_histogram"]


def chi_histogram(chi: ChiSquare) -> Figure:
    """One view's chi-square per observation and draw."""
    values = chi.values[np.isfinite(chi.values)]
    spread = chi.expected_width if np.isfinite(chi.expected_width) else 0.2
    high = max(1 + 4 * spread, finite_range(values, high=98.5)[1] if values.size else 0)
    high = min(high, 1 + 20 * spread) if values.size and np.median(values) < 1 + 10 * spread else high
    low = max(0.0, min(1 - 4 * spread, float(values.min()) if values.size else 0.0))
    beyond = int((values > high).sum())

    def draw(axes: Any) -> None:
        edges = np.linspace(low, high, 41)
        width = edges[1] - edges[0]
        heights = np.histogram(values, edges)[0] / max(len(values), 1) / width
        axes.bar(edges[:-1], heights, width, align="edge", color=colour(0), alpha=0.75, linewidth=0, label="draws")
        x, density = expected_density(chi, low, high)
        if density is not None:
            axes.plot(x, density, color=INK, linewidth=1.4, label="noise alone")
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("chi-square per value")
        axes.set_ylabel("density")
        axes.set_xlim(low, high)

    more = f" ({beyond} of {len(values)} draws lie beyond the right edge)" if beyond else ""
    caption = (
        "Squared residual of each posterior draw in units of the stated noise, per observed value (bars), and the "
        f"distribution that noise alone would give (line); good is bars that follow the line{more}."
    )
    return Figure(panel(draw, f"Chi-square of view {chi.view}", legend=True), caption, f"View “{chi.view}”")


def expected_density(chi: ChiSquare, low: float, high: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Density of a chi-square variable with `m` degrees of freedom, divided by `m`, averaged over the observations."""
    from scipy.stats import chi2

    x = np.linspace(low, high, 240)
    if chi.m is None or not (chi.m > 0).any():
        return x, None
    counts, weights = np.unique(chi.m[chi.m > 0], return_counts=True)
    if len(counts) > 40:
        counts, weights = np.quantile(chi.m[chi.m > 0], np.linspace(0.0125, 0.9875, 40)), np.ones(40)
    density = sum(w * m * chi2.pdf(x * m, m) for m, w in zip(counts, weights, strict=True)) / weights.sum()
    density = np.asarray(density, float)
    # with one or two values the density has no bound at 0
    return x, np.where(np.isfinite(density), np.minimum(density, 5.0 / max(high - low, 1e-9) * 4), np.nan)
