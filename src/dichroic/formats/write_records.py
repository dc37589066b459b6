"""Results as records: a file for every source of every record."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.labels import Labels
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import readable, whole

__all__ = ["Record", "WriteRecords"]


@dataclass(frozen=True)
class Record:
    """The posterior mean of one source of one record.

    **Fields:** `x`, shape `(T,)` or `(T, channels)`; `step`, seconds between two entries; `begin`, entries of the
    original that are not there before the first; `source`; `unit`; `labels`, of all the records, of which it is number
    `i`.
    """

    x: np.ndarray
    step: float
    begin: int
    source: str
    unit: str
    labels: Labels
    i: int

    def said(self, key: str) -> Any:
        """What the file of the data said, None where it did not."""
        own = self.labels.columns.get(key)
        return self.labels.shared.get(key) if own is None else own[self.i]


class WriteRecords(Writer):
    """Posterior means at the sampling rate of the data: `NAME.SOURCE.SUFFIX`, with the view and the identifier in the
    name where there are several.
    """

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        self.load()
        for name, shape in views.items():
            if len(shape) > 1 and not (len(shape) == 3 and shape[1] == 1):
                suffix = self.suffixes[0]
                raise ProblemError([f".{suffix} holds series; observations of view '{name}' have the shape {shape}"])

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        self.load()
        files = []
        for file, record in _records(path, views, self.suffixes[0]):
            with whole(file) as temporary:
                self.record(temporary, record)
            files += [file, *self.beside(file, record, said)]
        return files, "standard deviations, draws and sources as they are seen"

    @abstractmethod
    def record(self, path: Path, record: Record) -> None:
        """Writes one record.

        **Raises:** `ProblemError` where it has no such form.
        """

    def beside(self, path: Path, record: Record, said: Mapping[str, str]) -> list[Path]:
        """Writes what stands in a file of its own beside the record, and gives its name."""
        return []


def _records(path: Path, views: Mapping[str, ViewResults], suffix: str) -> Iterator[tuple[Path, Record]]:
    stem = path.name.removesuffix(path.suffix)
    for name, view in views.items():
        step = view.labels.axis(0).step
        if not step:
            raise ProblemError([f"view '{name}' has no sampling rate; say rate = 8000, say, in the view"])
        for source, found in view.sources.items():
            for i, x in enumerate(found.mean):
                parts = [source, *([name] if len(views) > 1 else []), *([view.ids[i]] if len(view) > 1 else [])]
                file = path.with_name(".".join([stem, *map(readable, parts), suffix]))
                x, begin = np.asarray(x[:, 0] if x.ndim == 3 else x), view.labels.columns.get("begin")
                unit = found.unit or view.labels.unit
                begin = 0 if begin is None else int(begin[i])
                yield file, Record(x, step, begin, source, unit, view.labels, i)
