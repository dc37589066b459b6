"""Processes that work together give what one gives. Real ones, on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from jax._src.clusters import ClusterEnv

from dichroic.faults import ProblemError
from dichroic.hosts import alone, gathered, is_first, join, several, share, told
from dichroic.run import Run, Separation
from run_cases import call, start, write_tiny


def test_one_process_agrees_with_itself():
    x = np.arange(5.0)
    assert told({"best": 2}) == {"best": 2} and is_first() and not several() and share(5, 2) == slice(0, 5)
    assert gathered(x, 5) is x


def test_shares_are_whole_blocks_and_all_rows(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 3)
    for n, step in ((10, 1), (1000, 256), (100, 256)):
        parts = []
        for k in range(3):
            monkeypatch.setattr("jax.process_index", lambda k=k: k)
            parts.append(share(n, step))
        assert [i for part in parts for i in range(n)[part]] == list(range(n))
        assert all(part.start % step == 0 for part in parts if part.start < n)
    with alone():
        assert share(10) == slice(0, 10)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("nowhere",), "HOST:PORT"),
        (("a:0", 2, 0), "HOST:PORT"),
        (("a:99999", 2, 0), "HOST:PORT"),
        (("a:1", 2), "--process K"),
        (("a:1", 2, 2), "--process K"),
        (("slurm",), "srun"),
        ((None, 2, 0), "belong to --distributed"),
    ],
)
def test_nothing_is_guessed(arguments, words, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(ProblemError, match=words):
        join(*arguments)


SLURM = {"JOB_ID": "4711", "STEP_NODELIST": "gpu[07-12,20],login", "NTASKS": "8", "PROCID": "5", "LOCALID": "1"}


@pytest.mark.parametrize("seen, own", [(None, 1), ("0", 0), ("GPU-5ee", 0), ("0,1,2,3", 1), ("2,3", 1)], ids=str)
def test_a_task_of_a_job_step_joins_by_what_slurm_says(seen, own, monkeypatch):
    """Its place among all tasks, and of the GPUs it sees one that is there: bound to it alone, or of several."""
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "JAX_COORDINATOR_PORT"):
        monkeypatch.delenv(name, raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    given = {}

    def initialize(address, processes, process, devices, cluster_detection_method, **_):
        found = ClusterEnv.auto_detect_unset_distributed_params(
            address, processes, process, devices, cluster_detection_method, 1
        )
        given.update(zip(("address", "processes", "process", "devices"), found, strict=True))

    monkeypatch.setattr("jax.distributed.initialize", initialize)
    join("slurm")
    assert given == {"address": f"gpu07:{4711 % 4096 + 61440}", "processes": 8, "process": 5, "devices": [own]}
    with pytest.raises(ProblemError, match="the job says"):
        join("slurm", 8, 5)


def together(count: int, command: list[str], cache: Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ["--distributed", where, "--processes", str(count), "--quiet"]
    return [start([*command, *flags, "--process", str(k)], cache) for k in range(count)]


def ended(processes: list[subprocess.Popen]) -> list[int]:
    said = [process.communicate(timeout=500) for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) <= {0, 3, 75}, "\n".join(err[-2000:] for _, err in said)
    return codes


def numbers(folder: Path) -> dict[str, np.ndarray]:
    """Weights of the priors and draws of what was held out."""
    found = {f"prior {s} {name}": x for s, p in Run(folder).priors.items() for name, x in p.content()[1].items()}
    result = Separation.open(folder / "separated.zarr")
    return found | {f"draws {v} {s}": np.asarray(x) for v, each in result.samples.items() for s, x in each.items()}


def same(folder: Path, other: Path) -> None:
    a, b = numbers(folder), numbers(other)
    assert a.keys() == b.keys() and a
    for name, x in a.items():
        np.testing.assert_allclose(x, b[name], atol=2e-4 * max(np.abs(x).max(), 1), rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("hosts")
    write_tiny(place / "problem", laps=3, patience=0)
    done = call(["fit", str(place / "problem"), "--out", str(place / "one"), "--no-report", "--quiet"], place / "cache")
    assert done.returncode == 0, done.stderr
    return place


def fit(place: Path, name: str) -> list[str]:
    return ["fit", str(place / "problem"), "--out", str(place / name), "--no-report"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_learn_and_draw_what_one_does(count, place):
    assert ended(together(count, fit(place, f"of {count}"), place / "cache")) == [0] * count
    same(place / "one", place / f"of {count}")


@pytest.mark.slow
def test_several_processes_find_what_one_does(place):
    small = ["--no-report", "--sbc", "8x7", "--fission", "8x7", "--leakage", "8x7", "--maps", "8x7"]
    verdicts = []
    for count in (1, 2):
        folder = place / f"diagnosed by {count}"
        shutil.copytree(place / "one", folder)
        command = ["diagnose", str(folder), *small]
        codes = ended(together(count, command, place / "cache") if count > 1 else [start([*command], place / "cache")])
        assert len(set(codes)) == 1
        verdicts.append(json.loads((folder / "diagnose" / "verdict.json").read_text()))
        assert {file.stem for file in (folder / "diagnose").iterdir()} >= {"replay", "sbc", "tarp", "verdict"}
    assert verdicts[0] == verdicts[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how, others", [("SIGKILL", "killed"), ("SIGKILL", "end"), ("SIGUSR1", "told")])
def test_a_process_that_ends_in_a_lap_costs_that_lap(how, others, place):
    """The others are killed with it, end by themselves when they have not heard of it for some time, or are told."""
    folder = place / f"{how} {others}"
    processes = together(2, fit(place, folder.name), place / "cache")
    deadline = time.monotonic() + 300
    while not list((folder / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed = how == "SIGKILL"
    for process in processes[1:] if killed else processes:
        process.send_signal(getattr(signal, how))
    if killed:
        processes[1].wait()
        if others == "killed":
            processes[0].kill()
        assert processes[0].wait(400) != 0
        for process in processes:
            process.communicate()
    else:
        assert set(ended(processes)) <= {75}
    resumed = ["resume", str(folder), "--no-report"]
    assert ended(together(2, resumed, place / "cache")) == [0, 0]
    same(place / "one", folder)
