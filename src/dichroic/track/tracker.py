"""What every tracker has in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dichroic.faults import ProblemError, among

__all__ = ["Tracker", "numbers_of", "open_trackers"]


class Tracker(ABC):
    """Takes the numbers of every lap, and shows them elsewhere.

    `library` is the module that it stands on, and what pip calls it.
    """

    library: ClassVar[tuple[str, str]]

    @abstractmethod
    def begin(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begins with a run, or goes on with it: the folder says which one it is."""

    @abstractmethod
    def log(self, lap: int, numbers: Mapping[str, float]) -> None:
        """The numbers of a lap; `lap` counts those of all stages."""

    @abstractmethod
    def close(self) -> None:
        """The end of the fit."""

    def load(self, module: str | None = None) -> Any:
        """The module.

        **Raises:** `ProblemError` where it is not installed.
        """
        try:
            return import_module(module or self.library[0])
        except ImportError:
            raise ProblemError([f"tracking needs {self.library[1]}: pip install {self.library[1]}"]) from None


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """All finite numbers in the record of a lap, by the path that leads to them: `views/both/chi_square`."""

    def every(node: Any, path: str) -> Iterator[tuple[str, float]]:
        if isinstance(node, Mapping):
            for name, inner in node.items():
                yield from every(inner, f"{path}/{name}" if path else str(name))
        elif isinstance(node, int | float) and not isinstance(node, bool) and math.isfinite(node):
            yield path, float(node)

    return dict(every(record, ""))


@contextmanager
def open_trackers(
    known: Mapping[str, type[Tracker]],
    wanted: Iterable[str],
    folder: Path,
    settings: Mapping[str, Any],
    say: Callable[[str], None],
) -> Iterator[Callable[[int, Mapping[str, Any]], None]]:
    """Begins with the trackers of some names, and yields what is to be called with every lap and its record.

    What fails, such as a connection, is said, and that tracker is left alone; a fit does not end of it.

    **Raises:** `ProblemError` for an unknown name, and where a library is not installed.
    """
    open_: dict[str, Tracker] = {}
    for name in wanted:
        if name not in known:
            raise ProblemError([f"there is no tracker '{name}'; there are: {among(name, known)}"])
        open_[name] = known[name]()

    def tried(name: str, call: Callable[[Tracker], None]) -> None:
        try:
            call(open_[name])
        except ProblemError:
            raise
        except Exception as error:
            del open_[name]
            say(f"{name} takes no more numbers: {error}")

    for name in list(open_):
        tried(name, lambda tracker: tracker.begin(folder, settings))

    def log(lap: int, record: Mapping[str, Any]) -> None:
        for name in list(open_):
            tried(name, lambda tracker: tracker.log(lap, numbers_of(record)))

    try:
        yield log
    finally:
        for name in list(open_):
            tried(name, lambda tracker: tracker.close())
