"""How the command line starts: at once, and with JAX arranged."""

import subprocess
import sys
from pathlib import Path

import pytest

from dichroic import __version__
from dichroic.cli.environment import cache_folder, prepare, threads_flag_set
from run_cases import call, environment

HEAVY = ("jax", "numpy", "scipy", "equinox", "optax", "zarr", "matplotlib", "sklearn", "pydantic", "dichroic.run")


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["plan", "--help"], ["demo", "-h"], ["reproduce", "--help"], ["--version"], ["fitt"]]
)
def test_help_imports_nothing_heavy(tmp_path, arguments):
    program = f"""
import sys
from dichroic.cli import main
code = main({arguments!r})
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
assert code == {2 if arguments == ["fitt"] else 0}, code
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert "\x1b" not in text
    if arguments == ["--version"]:
        assert text.strip() == __version__
    if arguments == ["--help"]:
        commands = ("check", "plan", "fit", "resume", "separate", "sample", "score", "report", "demo", "doctor")
        assert all(f" {command} " in text for command in commands)


@pytest.mark.slow
@pytest.mark.runs_long  # what compiles as quickly as in the tests is not worth keeping
def test_the_cache_is_used_and_says_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    runs, kept = [], []
    for _ in range(2):
        runs.append(call(["doctor"], tmp_path / "cache"))
        kept.append(len(list((tmp_path / "cache").glob("*-cache"))))
    assert [run.returncode for run in runs] == [0, 0]
    assert str(tmp_path / "cache") in runs[1].stdout
    assert kept[0] > 0
    # on a busy machine the second one finds another program that took long enough to be kept
    assert any(f"{n} compiled programs" in runs[1].stdout for n in range(kept[0], kept[1] + 1))
    # warnings of the compiler about a cache would frighten: what is said here is about the missing GPU alone
    for run in runs:
        assert all(line.startswith("NO GPU") for line in run.stderr.splitlines()), run.stderr


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("DICHROIC_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dichroic"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "dichroic"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "dichroic"
    monkeypatch.setenv("DICHROIC_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    for nowhere in ("off", "~nosuchuser/cache"):
        monkeypatch.setenv("DICHROIC_CACHE", nowhere)
        assert cache_folder() is None


def test_threads_are_off_unless_asked_for(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    prepare()
    assert threads_flag_set()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    prepare()
    assert not threads_flag_set()
