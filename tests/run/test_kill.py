"""Processes that are killed: whatever the moment, the run goes on and ends as if nothing had happened.

Real processes of the command line. They share compiled programs, so that only the first one takes its time.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from run_cases import call, results, start, write_tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
LAPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a problem, compiled programs and an uninterrupted run in it."""
    place = tmp_path_factory.mktemp("killed")
    write_tiny(place / "problem", laps=LAPS, training={"steps": 16, "batch": 16}, patience=0)
    done = fit(place, "whole")
    assert done.returncode == 0, done.stderr
    return place


def fit(place: Path, name: str, **options) -> subprocess.CompletedProcess:
    arguments = ["fit", str(place / "problem"), "--out", str(place / name), "--no-report", "--quiet"]
    return call(arguments, place / "cache", **options)


def begin(place: Path, name: str, *settings: str) -> subprocess.Popen:
    command = "resume" if (place / name / "config.toml").exists() else "fit"
    arguments = [str(place / name)] if command == "resume" else [str(place / "problem"), "--out", str(place / name)]
    return start([command, *arguments, *settings, "--no-report", "--quiet"], place / "cache")


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
@pytest.mark.parametrize("seed", range(100))
def test_killed_at_random(place, seed):
    """Once each, at any moment of the run's life, at or between its writes: a hundred resumes."""
    rng, name = random.Random(seed), f"random{seed}"
    before = wait_and_kill(place, name, rng.uniform(0, life(place)))
    process = begin(place, name)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, (before, err)
    same(place, name)


def life(place: Path) -> float:
    """Seconds that the uninterrupted run takes when its programs are compiled, measured once."""
    file = place / "life"
    if not file.exists():
        begin = time.monotonic()
        assert fit(place, "again").returncode == 0
        file.write_text(str(time.monotonic() - begin))
    return float(file.read_text())


def wait_and_kill(place: Path, name: str, seconds: float) -> str:
    """Kills a fit after so many seconds; what was there by then."""
    process = begin(place, name)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end(process, signal.SIGKILL)
    return f"{seconds:.2f} s: {sorted(os.listdir(place / name)) if (place / name).exists() else 'nothing'}"
