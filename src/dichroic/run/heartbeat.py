"""A sign of life of a run, for whoever asks from another shell or host."""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dichroic.run.progress import Progress, Reckoning
from dichroic.store import Format, StoreError, load_json, write

__all__ = ["Heartbeat", "Life", "life_of"]

_LIFE = Format("dichroic sign of life", 1)
_FILE = ".alive.json"
_KINDS = {"host": str, "process": int, "what": str, "fraction": float, "left": float | None}
_EVERY, _LATE = 20.0, 120.0  # seconds between two signs, and after which one is missed


@dataclass(frozen=True)
class Life:
    """What a run last said of itself: `age`, seconds since; `stale`, whether it should have said more by now."""

    host: str
    process: int
    what: str
    fraction: float
    left: float | None
    age: float

    @property
    def stale(self) -> bool:
        """Whether it has fallen silent."""
        return self.age > _LATE


class Heartbeat:
    """Passes progress on, and says so in the run folder; the file goes when the run ends, of whatever but a kill."""

    def __init__(self, inner: Progress, folder: Path):
        self._inner, self._file = inner, folder / _FILE
        self._what, self._fraction, self._reckoning = "starting", 0.0, Reckoning()
        self._stop = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Passed on."""
        self._inner.say(line)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Passed on."""
        self._reckoning.tell(time.monotonic(), fraction, left)
        self._fraction, self._what = fraction, what or self._what
        self._inner.advance(fraction, what, left)

    def close(self) -> None:
        """The end."""
        self._stop.set()
        self._thread.join()  # a sign that is being written would stand there after the end
        self._file.unlink(missing_ok=True)
        self._inner.close()

    def _beat(self) -> None:
        while not self._stop.wait(_EVERY):
            self._write()

    def _write(self) -> None:
        said: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid(), "what": self._what}
        left = self._reckoning.left(time.monotonic())
        said |= {"fraction": float(self._fraction), "left": None if left is None else float(left)}
        with suppress(OSError):  # a full disk ends the run elsewhere, in words
            write(self._file, json.dumps(_LIFE.mark(said)) + "\n")


def life_of(folder: Path) -> Life | None:
    """The last sign of life of a run, None where it has ended or was not begun.

    Its age is by the clock of the file system, the same for all hosts.
    """
    file = folder / _FILE
    try:
        said = load_json(file, _LIFE)
        if not all(isinstance(said[name], kind) for name, kind in _KINDS.items()):
            return None
        found = Life(**{name: said[name] for name in _KINDS}, age=_age(file))
    except (OSError, StoreError, KeyError):
        return None
    if found.host == socket.gethostname() and not _runs(found.process):
        return Life(**{**vars(found), "age": max(found.age, 2 * _LATE)})
    return found


def _age(file: Path) -> float:
    return max(time.time() - file.stat().st_mtime, 0.0)


def _runs(process: int) -> bool:
    if os.name != "posix":  # elsewhere, asking may end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
