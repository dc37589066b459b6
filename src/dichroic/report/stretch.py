"""Scales of colours and brightness, and the stretches of brightness that the reader chooses among.

A picture is stored in one stretch. The others are filters of the page, tables from the stored brightness to another
one, which radio buttons put into force: without scripts, so that the page works wherever it is opened.
"""

from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import numpy as np

from dichroic.report.pictures import finite_range, softening

__all__ = ["CONTROL", "Scale"]

_ENTRIES = 33  # of the table of a filter
_STRETCHES = {"linear": "linear", "asinh": "asinh", "ranks": "percentile"}
_RADIO = '<label><input type="radio" name="stretch" id="stretch-{}"{}>{}</label> '
CONTROL = (
    '<p class="stretch">Brightness: '
    + _RADIO.format("auto", " checked", "as drawn")
    + "".join(_RADIO.format(key, "", word) for key, word in _STRETCHES.items())
    + "</p>"
)


@dataclass(frozen=True)
class Scale:
    """From values to colours.

    **Fields:** `limits`; `colours`, of matplotlib; `soft`, where brightness turns from linear to logarithmic, 0 for a
    linear one; `ranks`, the share of values below each of `_ENTRIES` levels of the stored brightness, where the reader
    chooses the stretch.
    """

    limits: tuple[float, float]
    colours: str = "gray"
    soft: float = 0.0
    ranks: tuple[float, ...] = ()

    @classmethod
    def of(cls, *arrays: Any, limits: tuple[float, float] | None = None) -> "Scale":
        """Of brightness, such that most of the values are told apart: linear, or an inverse hyperbolic sine."""
        limits = finite_range(*arrays) if limits is None else limits
        scale = cls(limits, soft=softening(*arrays, limits=limits))
        values = np.concatenate([np.ravel(x) for x in arrays if x is not None] or [np.zeros(1)])
        values = np.sort(values[np.isfinite(values)])
        levels = limits[0] + scale._linear() * (limits[1] - limits[0])
        return cls(limits, soft=scale.soft, ranks=tuple(np.searchsorted(values, levels) / max(len(values), 1)))

    @property
    def key(self) -> str:
        """Class of the pictures on this scale; empty for one that has no other stretch."""
        return "k" + sha1(self.filters(name="").encode()).hexdigest()[:10] if self.ranks else ""

    def filters(self, name: str | None = None) -> str:
        """The filters, invisible, and the rules that put them into force."""
        if not self.ranks:
            return ""
        name = self.key if name is None else name
        u = self._linear()
        soft = self.soft / (self.limits[1] - self.limits[0]) or 1 / 20
        tables = {"linear": u, "asinh": np.arcsinh(u / soft) / np.arcsinh(1 / soft), "ranks": np.asarray(self.ranks)}
        del tables["asinh" if self.soft else "linear"]  # as it is stored
        functions = {key: " ".join(f"{x:.3f}".strip("0").rstrip(".") or "0" for x in t) for key, t in tables.items()}
        drawn = "".join(
            f'<filter id="{name}-{key}" color-interpolation-filters="sRGB"><feComponentTransfer>'
            + "".join(f'<feFunc{c} type="table" tableValues="{table}"/>' for c in "RGB")
            + "</feComponentTransfer></filter>"
            for key, table in functions.items()
        )
        rules = "".join(f"main:has(#stretch-{key}:checked) .{name}{{filter:url(#{name}-{key})}}" for key in functions)
        return f'<svg class="filters" aria-hidden="true">{drawn}</svg><style>{rules}</style>'

    def _linear(self) -> np.ndarray:
        """Linear brightness at evenly spaced levels of the stored one."""
        v = np.linspace(0, 1, _ENTRIES)
        width = self.limits[1] - self.limits[0]
        return np.sinh(v * np.arcsinh(width / self.soft)) * self.soft / width if self.soft > 0 else v
