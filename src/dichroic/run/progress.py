"""Progress of a whole run: what is being done, how far it is, and when it will be over."""

import sys
import threading
import time
from collections.abc import Mapping
from math import inf
from typing import Any, Protocol, runtime_checkable

__all__ = ["Progress", "Quiet", "Reckoning", "Terminal", "Watchdog"]

_ENOUGH, _FIRST = 0.025, 5.0  # of a run, and seconds, to reckon from


@runtime_checkable
class Progress(Protocol):
    """What a run tells while it runs."""

    def say(self, line: str) -> None:
        """A sentence worth keeping."""
        ...

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """The share of the run that is done, what is being done, and the seconds that are left where they are known:
        infinity where nobody can know them.
        """
        ...

    def close(self) -> None:
        """The end."""
        ...


class Quiet:
    """Says nothing."""

    def say(self, line: str) -> None:
        """Ignored."""

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""


class Reckoning:
    """The seconds that are left: at the last sign those that were told, or else what the share says that was done since
    somebody could know; less what has passed since then.
    """

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None  # moment and share that is reckoned from
        self._end: float | None = None

    def tell(self, now: float, fraction: float, left: float | None = None) -> None:
        """A sign, at a moment of a monotonic clock."""
        # a resumed run has done the rest at another time, and the first sign comes when what follows is compiled
        self._since = None if left == inf else self._since or (now, fraction)
        left = self._reckoned(now, fraction) if left is None else left
        self._end = None if left is None or left == inf else now + left

    def left(self, now: float) -> float | None:
        """None where nothing is known, which is the case of whoever is late without a sign, too."""
        return None if self._end is None or now > self._end else self._end - now

    def _reckoned(self, now: float, fraction: float) -> float | None:
        begin, first = self._since or (now, fraction)
        # the first moments are compilation: an estimate made from them would frighten
        if fraction - first < _ENOUGH or now - begin < _FIRST:
            return None
        return (now - begin) * (1 - fraction) / (fraction - first)


class Terminal:
    """A bar with the time left for the whole run on a terminal; plain lines, at most one in ten seconds, elsewhere."""

    def __init__(self, interval: float = 10.0):
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        told = self._left

        class Left(ProgressColumn):
            """Asks anew whenever it is drawn: between two signs time passes."""

            def render(self, task: Any) -> Text:
                return Text(f"{told():>10}")

        self._console = Console(stderr=True)
        self._begin = self._last = time.monotonic()
        self._interval, self._bar = interval, None
        self._reckoning = Reckoning()
        self._what = "starting"
        if self._console.is_terminal:
            # names are the user's: what looks like markup in them is none
            columns = (Left(), BarColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.start()

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        from rich.text import Text

        elapsed = time.monotonic() - self._begin
        text = Text(f"{_clock(elapsed):>7}", style="dim").append(f"  {line}", style="not dim")
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Moves the bar."""
        now, self._what = time.monotonic(), what or self._what
        self._reckoning.tell(now, fraction, left)
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, description=self._what)
        elif now - self._last >= self._interval:
            self._last = now
            shown = f", {told} left" if (told := self._left()) else ""
            print(f"{_clock(now - self._begin):>7}  {fraction:4.0%}  {self._what}{shown}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        left = self._reckoning.left(time.monotonic())
        return "" if left is None else _clock(left)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()


def _clock(seconds: float) -> str:
    seconds = int(seconds)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Watchdog:
    """Says so when a run makes no progress, instead of hanging silently.

    Wraps a `Progress`; a thread of its own warns after `minutes` without a sign of life.
    """

    def __init__(self, inner: Progress, minutes: float = 10.0):
        self._inner, self._minutes = inner, minutes
        self._seen, self._what, self._warned = time.monotonic(), "starting", False
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def say(self, line: str) -> None:
        """Passed on."""
        self._alive()
        self._inner.say(line)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Passed on."""
        self._alive(what)
        self._inner.advance(fraction, what, left)

    def close(self) -> None:
        """Stops watching."""
        self._stop.set()
        self._inner.close()

    def _alive(self, what: str | None = None) -> None:
        self._seen, self._warned, self._what = time.monotonic(), False, what or self._what

    def _watch(self) -> None:
        while not self._stop.wait(min(30.0, 15 * self._minutes)):
            quiet = (time.monotonic() - self._seen) / 60
            if quiet > self._minutes and not self._warned:
                self._warned = True
                self._inner.say(
                    f"no progress for {quiet:.0f} minutes, during: {self._what}. Compiling can take that long; "
                    "if it goes on, stop the run and resume it, nothing is lost but this lap"
                )


def summary_line(record: Mapping[str, Any]) -> str:
    """One lap in one line."""
    parts = [f"{record['stage']} lap {record['lap']}"]
    if "score" in record:
        parts.append(f"prediction {record['score']:.4f}")
    if law := record.get("law"):
        parts.append("AUC " + ", ".join(f"{v} {area:.2f}" for v, (area, _) in law.items()))
    for view, numbers in record["views"].items():
        part = f"{view}: chi² {numbers['chi_square']:.2f}"
        if numbers["diverged"]:
            part += f", {numbers['diverged']:.1%} diverged"
        if numbers["solver_stopped"] > 0.01:
            part += f", {numbers['solver_stopped']:.0%} solves stopped early"
        scores = numbers.get("held_out", {}).get("psnr", {})
        part += "".join(f", {s} {value:.1f} dB" for s, value in scores.items())
        parts.append(part)
    return " | ".join(parts)
