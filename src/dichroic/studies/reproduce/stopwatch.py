"""Seconds of work, added up over sessions."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dichroic.studies.reproduce.material import write_json

__all__ = ["timed"]


@contextmanager
def timed(file: Path, what: str) -> Iterator[None]:
    """Adds the time of the work inside to what the file says of earlier sessions.

    The file holds for every `what` the wall-clock `seconds`, the `cpu_seconds` of this process, the number of
    `sessions`, and how many of these were `cut_short`: a killed session counts for no seconds, so that the sum is then
    a lower bound.
    """
    times = json.loads(file.read_text()) if file.is_file() else {}
    entry = times.setdefault(what, {"seconds": 0.0, "cpu_seconds": 0.0, "sessions": 0, "cut_short": 0})
    entry["sessions"] += 1
    entry["cut_short"] += 1
    write_json(file, times)
    begin, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        entry["cut_short"] -= 1
        entry["seconds"] += time.perf_counter() - begin
        entry["cpu_seconds"] += time.process_time() - processor
        write_json(file, times)
