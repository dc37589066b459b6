"""Maps of the checks: mean and variance of residuals, contraction, correlation of sources."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dichroic.diagnose import Result
from dichroic.report.cells import colour_bar
from dichroic.report.describe import number
from dichroic.report.pictures import is_image, picture, png, to_rgba
from dichroic.report.stretch import Scale
from dichroic.report.theme import INK, Figure, colour, panel

__all__ = ["contraction_figures", "residual_figures"]

_DIVERGING, _SEQUENTIAL = "RdBu_r", "viridis"


def residual_figures(result: Result) -> Iterator[Figure]:
    """What is left over again and again, in units of the noise."""
    for name in result.arrays:
        if not name.endswith("/mean"):
            continue
        view = name[: -len("/mean")]
        mean, variance = result.arrays[name], result.arrays[f"{view}/variance"]
        if np.isfinite(mean).any():
            limit = max(0.1, float(np.nanmax(np.abs(mean))))
            caption = (
                "Mean over held-out observations of what one posterior draw each leaves of the data, in units of "
                "the noise. Good is speckle around zero; a shape that can be recognised belongs to a source, or to "
                "a wrong operator."
            )
            yield Figure(_map(mean, (-limit, limit), "mean residual", _DIVERGING), caption, f"Mean residual, “{view}”")
            high = max(1.5, float(np.nanpercentile(variance, 99.5)))
            caption = (
                "Mean square of the same residuals. Good is 1 everywhere; more means understated noise at that entry."
            )
            body = _map(variance, (2 - high, high) if high < 2 else (0.0, high), "mean square", _SEQUENTIAL)
            yield Figure(body, caption, f"Size of residuals, “{view}”")


def contraction_figures(result: Result) -> Iterator[Figure]:
    """Where the answer comes from the data, and which sources are confused."""
    for name, values in result.arrays.items():
        *where, kind = name.split("/")
        if kind == "contraction":
            view, source = where
            whole = number(float(result.arrays[f"{view}/{source}/whole"]))
            caption = (
                "Share of the variance of each entry that one observation removes, on average: 1 where the data "
                f"decide, 0 where what was learned before decides. All entries together: {whole}."
            )
            body = _map(np.clip(values, -0.2, 1), (0.0, 1.0), "contraction", _SEQUENTIAL)
            yield Figure(body, caption, f"“{source}” in view “{view}”: data or prior")
        elif kind == "correlation":
            view, source, other = where
            caption = (
                "Correlation of the two sources' entries over the draws of one observation, on average. Near -1 "
                "only their sum is known; near 0 they are told apart. This is a property of the data and no fault."
            )
            body = _map(values, (-1.0, 1.0), "correlation", _DIVERGING)
            yield Figure(body, caption, f"“{source}” against “{other}” in view “{view}”")


def _map(values: np.ndarray, limits: tuple[float, float], label: str, colours: str) -> str:
    values = np.asarray(values, float)
    if not is_image(values.shape):
        return _curve(values.ravel(), limits, label)
    if values.ndim == 3 and values.shape[2] == 3:
        values = np.concatenate(
            list(np.moveaxis(values, 2, 0)), axis=1
        )  # channels side by side: no colours of their own
    image = png(to_rgba(picture(values), limits, colours))
    return f'<img class="px sheet" src="{image}" alt="{label}">{colour_bar(label, Scale(limits, colours))}'


def _curve(values: np.ndarray, limits: tuple[float, float], label: str) -> str:
    def draw(axes: Any) -> None:
        x = np.arange(len(values))
        if len(values) <= 32:
            axes.plot(x, values, "o", color=colour(0))
            axes.vlines(x, 0, values, color=colour(0), linewidth=1)
        else:
            axes.plot(x, values, color=colour(0))
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("entry")
        axes.set_ylabel(label)
        axes.set_ylim(min(limits[0], float(np.nanmin(values))), max(limits[1], float(np.nanmax(values))) * 1.05)

    return panel(draw, label)
