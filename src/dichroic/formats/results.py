"""What a separation comes to, as files of the fields hold it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dichroic.formats.labels import Labels

__all__ = ["Estimates", "ViewResults"]


@dataclass(frozen=True)
class Estimates:
    """One source of the observations of a view.

    **Fields:** `mean` and `std`, shape `(n, ...)`; `draws`, `(n, draws, ...)`; `seen`, the mean as the view shows it,
    of the shape of the data, None where it was not kept; `unit`, of the source.
    """

    mean: np.ndarray
    std: np.ndarray
    draws: np.ndarray
    seen: np.ndarray | None = None
    unit: str = ""

    def kinds(self) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays with one entry for each observation, by name."""
        yield "mean", self.mean
        yield "std", self.std
        if self.seen is not None:
            yield "seen", self.seen
        yield "draws", self.draws


@dataclass(frozen=True)
class ViewResults:
    """All sources of the observations of a view; `chi_square` and `diverged`, shape `(n, draws)`."""

    sources: Mapping[str, Estimates]
    labels: Labels
    chi_square: np.ndarray
    diverged: np.ndarray

    def __len__(self) -> int:
        return len(self.chi_square)

    @property
    def ids(self) -> np.ndarray:
        """Identifiers of the observations: their numbers, where they have no names."""
        return np.arange(len(self)).astype(str) if self.labels.ids is None else self.labels.ids.astype(str)
