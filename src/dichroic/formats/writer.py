"""Writing what a separation came to in the form of a field's files: what every kind has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults

__all__ = ["Writer"]


class Writer(ABC):
    """How results are written as one kind of file.

    **Class variables:** `suffixes`, of the files' names; `library`, the module that writes them and what pip calls it.
    """

    suffixes: ClassVar[tuple[str, ...]]
    library: ClassVar[tuple[str, str]]

    @abstractmethod
    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        """Writes the results, and `said`, where they came from.

        **Returns** the files, and what of the results they do not hold, in words: empty where they hold all.

        **Raises:** `ProblemError` where the results have no such form.
        """

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        """Whether observations of these shapes, by view, can be written, before anything is computed.

        **Raises:** `ProblemError` where they cannot, and where the library is absent.
        """
        self.load()

    def load(self, module: str | None = None) -> Any:
        """The module that writes the files.

        **Raises:** `ProblemError` where it is not installed.
        """
        try:
            return import_module(module or self.library[0])
        except ImportError:
            package = self.library[1]
            raise ProblemError([f"writing .{self.suffixes[0]} needs {package}: pip install {package}"]) from None
