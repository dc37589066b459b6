"""Progress on and off a terminal."""

from math import inf

import pytest

from dichroic.run import Terminal
from dichroic.run.progress import Reckoning, Watchdog, _clock


def test_plain_lines_off_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    progress = Terminal(interval=0.0)
    progress.say("a view named [bold] and " + "many words " * 10)
    progress.advance(0.25, "draw [x]")
    progress.advance(0.5, "")
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3  # never broken, whatever the width
    assert "[bold]" in lines[0]
    assert "25%  draw [x]" in lines[1]
    assert "50%  draw [x]" in lines[2]
    assert "\x1b" not in err


def test_few_lines_off_a_terminal(capsys):
    progress = Terminal(interval=60.0)
    for k in range(50):
        progress.advance(k / 50, "draw")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("elapsed", "fraction", "first", "left"),
    [
        (100.0, 0.55, 0.1, 100.0),
        (100.0, 0.9, 0.8, 100.0),  # a resumed run has done the first 80% at another time
        (100.0, 0.101, 0.1, None),
        (1.0, 0.5, 0.1, None),
    ],
)
def test_the_time_left(elapsed, fraction, first, left):
    reckoning = Reckoning()
    reckoning.tell(7.0, first)
    reckoning.tell(7.0 + elapsed, fraction)
    assert reckoning.left(7.0 + elapsed) == pytest.approx(left)


def test_who_does_the_work_may_know_better():
    reckoning = Reckoning()
    reckoning.tell(0.0, 0.1)
    reckoning.tell(100.0, 0.55, 30.0)
    assert [reckoning.left(now) for now in (100.0, 110.0, 200.0)] == [30.0, 20.0, None]  # late, without a word
    reckoning.tell(300.0, 0.55)
    assert reckoning.left(300.0) == pytest.approx(300.0)


def test_the_time_left_is_not_reckoned_from_the_closed_forms(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dichroic.run.progress.time.monotonic", lambda: now[0])
    progress = Terminal(interval=0.0)

    def advance(seconds, fraction, left=None):
        now[0] += seconds
        progress.advance(fraction, "work", left)

    advance(300, 0.02, inf)
    progress.say("Gaussian stage: done")
    advance(300, 0.05, inf)
    progress.say("components stage: done")
    for number in range(5):
        advance(6, (8 + number) / 128)
    progress.say("lap 1")  # by now, laps do not begin it anew
    advance(6, 13 / 128)
    lines = [line for line in capsys.readouterr().err.splitlines() if "work" in line]
    left = [line.partition(", ")[2] for line in lines]
    # two of the closed forms, the lap's first that is reckoned from, and then six seconds for every part of 128
    assert left == [""] * 6 + ["11:36 left", "11:30 left"]


def test_the_clock():
    assert [_clock(s) for s in (0.0, 61.0, 3600.0)] == ["0:00", "1:01", "1:00:00"]


def test_silence_is_noticed():
    import time

    class Listener:
        def __init__(self):
            self.lines = []

        def say(self, line):
            self.lines.append(line)

        def advance(self, fraction, what, left=None):
            pass

        def close(self):
            pass

    listener = Listener()
    watchdog = Watchdog(listener, minutes=0.001)
    watchdog.advance(0.1, "draw both")
    deadline = time.monotonic() + 20
    while not listener.lines and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    watchdog.close()
    assert len(listener.lines) == 1  # said once
    assert "draw both" in listener.lines[0]
