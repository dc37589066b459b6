r"""What the spectrum of an information matrix says: its condition, its null space, and the patterns in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

__all__ = ["EXACT", "Direction", "Spectrum"]

EXACT = 1e-12  # part of the largest eigenvalue that is taken for zero


@dataclass(frozen=True)
class Direction:
    r"""A pattern of the sources that the data says nothing or little about.

    `kind`: "dead", entries of one source that no observation contains; "flat", a pattern of one source that all
    operators remove although its entries are seen; "trade-off", a pattern that can move from one source to another.
    `pattern`, `{source: array}`, has unit norm, each source being in the unit in which its best view sees it with unit
    strength; `count` is the dimension of the space it was picked from, and `information` the information about it, as a
    share of that about the best-determined pattern (a ratio of standard errors; 0 in a null space).
    """

    kind: Literal["dead", "flat", "trade-off"]
    pattern: Mapping[str, np.ndarray]
    count: int
    information: float = 0.0

    @property
    def sources(self) -> list[str]:
        """The sources it concerns, the one with the largest part first."""
        norms = {s: round(float(np.linalg.norm(x)), 6) for s, x in self.pattern.items()}  # ties in the given order
        return sorted((s for s in norms if norms[s] > 1e-3), key=lambda s: -norms[s])


@dataclass(frozen=True)
class Spectrum:
    r"""The spectrum of the information about one order of the populations.

    **Arguments:** `order`, 1 for means and 2 for covariances; `unknowns`, dimension; `largest`, `smallest`, extreme
    eigenvalues; `smallest_rest`, the smallest one outside the null space; `null`, dimension of the null space, of which
    `unseen`, by source, is of dead and flat patterns; `directions`, patterns picked from it, and the worst one outside
    it; `route`, how it was computed; `exact`, whether `smallest` and `null` are not merely bounds (from above and from
    below); `dead`, for every source the entries that no observation contains.
    """

    order: int
    unknowns: int
    largest: float
    smallest: float
    smallest_rest: float
    null: int
    unseen: Mapping[str, int]
    route: str
    exact: bool = True
    directions: list[Direction] = field(default_factory=list)
    dead: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def condition(self) -> float:
        r""":math:`\sqrt{\lambda_\max/\lambda_\min}`, infinite with a null space.

        For means it is the standard error of the worst-determined pattern over that of the best-determined one.
        """
        return float(np.inf) if self.null else float(np.sqrt(self.largest / self.smallest))

    @property
    def condition_rest(self) -> float:
        """The same outside the null space."""
        return float(np.sqrt(self.largest / self.smallest_rest)) if self.smallest_rest > 0 else float("nan")

    @property
    def trade_offs(self) -> int:
        """Dimension of the null space that is between sources."""
        return self.null - sum(self.unseen.values())
