"""Processes that are killed: whatever the moment, the run goes on and ends as if nothing had happened.

Real processes of the command line. They share compiled programs, so that only the first one takes its time.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_cases import call, environment, results, start, write_tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
LAPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """A folder with a problem, compiled programs and an uninterrupted run in it."""
    place = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:  # what is killed is no better for being fast
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
        write_tiny(place / "problem", laps=LAPS, training={"steps": 16, "batch": 16}, patience=0)
        done = fit(place, "whole")
        assert done.returncode == 0, done.stderr
        yield place


def fit(place: Path, name: str, **options) -> subprocess.CompletedProcess:
    arguments = ["fit", str(place / "problem"), "--out", str(place / name), "--no-report", "--quiet"]
    return call(arguments, place / "cache", **options)


def arguments_of(place: Path, name: str, *settings: str) -> list[str]:
    """Of the command that begins a run, or goes on with it."""
    command = "resume" if (place / name / "config.toml").exists() else "fit"
    arguments = [str(place / name)] if command == "resume" else [str(place / "problem"), "--out", str(place / name)]
    return [command, *arguments, *settings, "--no-report", "--quiet"]


def begin(place: Path, name: str, *settings: str) -> subprocess.Popen:
    return start(arguments_of(place, name, *settings), place / "cache")


def end(process: subprocess.Popen, number: int) -> int:
    """Sends a signal and waits for the end."""
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


def wait_for(process: subprocess.Popen, ready) -> bool:
    """Whether something came to be while the process was running."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if ready():
            return True
        time.sleep(0.0005)
    return False


def same(place: Path, name: str) -> None:
    a, b = results(place / name), results(place / "whole")
    assert a.keys() == b.keys()
    assert [key for key in a if a[key] != b[key]] == []
    assert not list((place / name).rglob("*.tmp"))


def checkpoints(place: Path, name: str) -> list[str]:
    folder = place / name / "checkpoints"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_at_every_checkpoint(place, times):
    """While a checkpoint is written, and right after."""
    kills, name = 0, f"often{times}"
    for attempt in range(3 * LAPS):
        before = [c for c in checkpoints(place, name) if not c.startswith(".")]
        process = begin(place, name)
        half_written = attempt % 2 == 0

        def ready(before=before, half_written=half_written):
            now = checkpoints(place, name)
            if half_written:
                return any(file.startswith(".") for file in now)
            return bool({file for file in now if not file.startswith(".")} - set(before))

        if not wait_for(process, ready):
            break
        assert end(process, signal.SIGKILL) in (-signal.SIGKILL, 0)
        kills += process.returncode != 0
        if kills == times:
            break
    assert kills == times
    assert call(["resume", str(place / name), "--no-report"], place / "cache").returncode == 0
    same(place, name)


@pytest.mark.slow
def test_asked_to_stop(place):
    for attempt in range(5):  # a busy machine may end the run before it hears of the signal
        name = f"asked{attempt}"
        process = begin(place, name)
        assert wait_for(process, lambda name=name: checkpoints(place, name))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
        if process.returncode != 0:
            break
    assert process.returncode == 75, err
    assert out == ""
    assert f"stopped: stopped by a signal; continue with: dichroic resume {place / name}" in err
    assert "Traceback" not in err
    assert fit(place, name).returncode == 0
    same(place, name)


@pytest.fixture
def heard():
    """Processes that are started hear of an interrupt even where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_ctrl_c(place, heard):
    process = begin(place, "interrupted", "--laps", "10000")
    try:
        assert wait_for(process, lambda: checkpoints(place, "interrupted"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert f"continue with: dichroic resume {place / 'interrupted'}" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random(place, forks, seed):
    """Ten times each, at any moment of a process's life, at or between its writes: a hundred kills in all."""
    rng, life, kills, runs = random.Random(seed), forks.life(place), 0, 0
    while kills < 10:
        name, runs = f"random{seed}.{runs}", runs + 1
        while kills < 10:
            process = forks.begin(place, name)
            if (code := process.end_after(rng.uniform(0, life))) == 0:
                break
            assert code == -signal.SIGKILL, forks.said()
            kills += 1
            there = sorted(os.listdir(place / name)) if (place / name).exists() else []
            print(f"kill {kills} of {seed}: {checkpoints(place, name)[-1:]} {' '.join(there)}")
        else:
            assert forks.begin(place, name).end() == 0, forks.said()
        same(place, name)


_FORKS = """
import json, os, sys
from dichroic.cli.environment import prepare
prepare()
import dichroic.baselines, dichroic.cli, dichroic.cli.fit, dichroic.diagnose, dichroic.run, zarr
print("ready", flush=True)
for line in sys.stdin:
    if (child := os.fork()) == 0:
        os.dup2(2, 1)
        code = dichroic.cli.main(json.loads(line))
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Processes of the command line that have imported what they need, and not yet begun: forks of one process."""

    def __init__(self, folder: Path, cache: Path):
        self.errors = open(folder / "errors", "a+")  # noqa: SIM115
        self.parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _FORKS],
            env=environment(cache),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        assert self.parent.stdout.readline() == "ready\n", self.said()
        self._life: float | None = None

    def begin(self, place: Path, name: str) -> "Fork":
        print(json.dumps(arguments_of(place, name)), file=self.parent.stdin, flush=True)
        return Fork(self.parent.stdout)

    def life(self, place: Path) -> float:
        """Seconds that an uninterrupted run takes when its programs are compiled, measured once."""
        if self._life is None:
            begin = time.monotonic()
            assert self.begin(place, "again").end() == 0, self.said()
            self._life = time.monotonic() - begin
            print(f"a run takes {self._life:.1f} s")
        return self._life

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-2000:]


class Fork:
    """One of them."""

    def __init__(self, pipe):
        self.pipe, self.number = pipe, int(pipe.readline())

    def end(self) -> int:
        """Waits for its end; the exit code, or the signal below zero."""
        return int(self.pipe.readline())

    def end_after(self, seconds: float) -> int:
        """The same, after killing it once so many seconds are over."""
        if not select.select([self.pipe], [], [], seconds)[0]:
            os.kill(self.number, signal.SIGKILL)
        return self.end()


@pytest.fixture(scope="module")
def forks(place):
    forks = Forks(place, place / "cache")
    yield forks
    forks.parent.stdin.close()
    forks.parent.wait()
    forks.errors.close()
