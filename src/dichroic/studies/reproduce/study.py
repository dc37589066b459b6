"""A published comparison in which nothing is mixed: what it trains, and how it tells what came out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.run import Progress
from dichroic.store import Format, load_arrays, save_arrays
from dichroic.studies.reproduce.cell import keep_cell

__all__ = ["Study", "shown"]

_FORMAT = Format("dichroic study cell", 1)


class Study(ABC):
    """A comparison with methods, sizes and scores of its own. `reproduce` runs its cells as it does those of mixtures.

    **Fields:** `name`; `title`; `methods`, all there are.
    """

    name: str
    title: str
    methods: tuple[str, ...]

    @abstractmethod
    def cells(self, scale: str, methods: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
        """What is to be trained at a scale, by what it is called: with all settings that its numbers depend on, fit
        for JSON, `method` and `seed` among them.
        """

    @abstractmethod
    def prepare(self, scale: str, data: Path | None, seed: int) -> Any:
        """What all cells of a scale share.

        **Raises:** `MissingData` where a data set is missing.
        """

    @abstractmethod
    def train(self, material: Any, cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Trains and judges one cell.

        **Returns:** its numbers, fit for JSON; arrays that figures show.
        """

    @abstractmethod
    def table(self, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Lines of Markdown: cells that are done, with their numbers, and the published ones beside."""

    def draw(self, cells: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
        """Draws figures of cells that are done into the folder of the study, where there is something to see."""
        return []

    def run_cell(
        self, title: str, cell: Mapping[str, Any], folder: Path, material: Any, progress: Progress
    ) -> dict[str, Any]:
        """Trains and judges a cell in a folder, unless that is done."""
        progress.advance(0.0, "training")

        def work(before: Mapping[str, Any] | None) -> dict[str, Any]:
            numbers, arrays = self.train(material, cell)
            if arrays:
                save_arrays(folder / "shown.safetensors", arrays, {}, _FORMAT)
            return {"status": "done", "numbers": numbers}

        return keep_cell(folder, cell, {**cell, "title": title, "folder": folder.name}, {}, work)


def shown(folder: Path, cell: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a cell, in the folder of its study."""
    return load_arrays(folder / cell["folder"] / "shown.safetensors", _FORMAT)[0]
