"""Reading one array from one file: what every kind of file has in common."""

from abc import abstractmethod
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dichroic.faults import ProblemError, among, names
from dichroic.formats.opened import Opened
from dichroic.kinds import Settings

__all__ = ["Reader", "missing_key"]


class Reader(Settings):
    """How an array is read from one kind of file: the fields are the keys beside the name of the file.

    **Class variables:** `suffixes`, of the files' names; `key`, the field that KEY in `FILE:KEY` stands for, if any;
    `library`, the module that reads them and what pip calls it, where it is an optional one.
    """

    suffixes: ClassVar[tuple[str, ...]]
    key: ClassVar[str | None] = None
    library: ClassVar[tuple[str, str] | None] = None

    @abstractmethod
    def read(self, path: Path) -> Opened:
        """The array with what the file says of it. Nothing in the file may run, or be allocated on its word.

        **Raises:** `ProblemError`; whatever else a library raises for a damaged file is put into words by the caller.
        """

    def load(self, path: Path, module: str | None = None) -> Any:
        """The module that reads the files.

        **Raises:** `ProblemError` where it is not installed.
        """
        assert self.library is not None
        try:
            return import_module(module or self.library[0])
        except ImportError:
            package = self.library[1]
            raise ProblemError([f"reading '{path.name}' needs {package}: pip install {package}"]) from None


def missing_key(path: Path, key: str | None, known: Iterable[str]) -> ProblemError:
    """What to say where an array is not in a file, or not named."""
    known = list(known)
    if key is None:
        return ProblemError(
            [f"'{path.name}' holds several arrays; name one as '{path.name}:KEY'. Keys: {names(known)}"]
        )
    return ProblemError([f"no '{key}' in '{path.name}'; keys there: {among(key, known)}"])
