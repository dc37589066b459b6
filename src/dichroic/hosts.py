"""Processes on one host or on several: joined when told to, and of one mind, which is that of process 0.

All of them do the same, but for the observations that each draws and for what is written, which is process 0's. What
they have to agree on they do not find out each for itself: it is told.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from math import prod
from typing import Any, TypeVar

import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError

__all__ = ["alone", "by_first", "gathered", "is_first", "join", "several", "share", "told", "wait"]

Function = TypeVar("Function", bound=Callable[..., Any])

_PATIENT = 24 * 3600  # seconds that processes wait for one that still writes when the others have ended
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def join(where: str | None, processes: int | None = None, process: int | None = None) -> None:
    """Joins other processes of the same command, before anything is computed.

    **Arguments:** `where`, `HOST:PORT`, at which process 0 listens, with the number of `processes` and that of this
    one; or `slurm`, which says all of it in the variables of a job step.

    **Raises:** `ProblemError` when something is missing, or the others do not answer.
    """
    said, devices = f"--distributed {where}", None
    if where is None:
        raise ProblemError(["--processes and --process belong to --distributed HOST:PORT, which is not there"])
    if where == "slurm":
        if processes is not None or process is not None:
            raise ProblemError([f"{said}: the job says how many processes there are, and which one this is"])
        if "SLURM_PROCID" not in os.environ:
            raise ProblemError([f"{said}: this is no step of a job; start the command with srun"])
        devices = _own_device()
    elif not re.fullmatch(r".+:\d{1,5}", where) or not 0 < int(where.rpartition(":")[2]) < 1 << 16:
        raise ProblemError([f"{said}: expected HOST:PORT or slurm"])
    elif processes is None or process is None or not 0 <= process < processes:
        raise ProblemError([f"{said}: say --processes N, and --process K, from 0 to N - 1, for each of them"])
    method = "slurm" if where == "slurm" else None
    address = None if method else where
    try:
        jax.distributed.initialize(
            address, processes, process, devices, cluster_detection_method=method, shutdown_timeout_seconds=_PATIENT
        )
    except Exception as error:  # whatever keeps them apart
        raise ProblemError([f"{said}: {error}"]) from error


def _own_device() -> list[int] | None:
    """Which of the GPUs that this task sees is its own; None for JAX's choice, the one of the task's number on its
    node, which is not there where Slurm binds GPUs to tasks (`--gpus-per-task`) and each sees no other.
    """
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if seen := os.environ.get(name):
            return [int(os.environ.get("SLURM_LOCALID", 0)) % len(seen.split(","))]
    return None


def several() -> bool:
    """Whether there are processes to agree with."""
    return jax.process_count() > 1 and not _alone.get()


def is_first() -> bool:
    """Whether this is process 0, which decides and writes."""
    return jax.process_index() == 0


@contextmanager
def alone() -> Iterator[None]:
    """What is done within, this process does by itself, and all of it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def by_first(function: Function) -> Function:
    """A function that writes: process 0 calls it, the others go on."""

    @wraps(function)
    def once(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if is_first() else None

    return once  # pyright: ignore


def wait() -> None:
    """Until all processes are here."""
    told(None)


def told(value: Any) -> Any:
    """What process 0 says: anything that JSON holds."""
    if not several():
        return value
    said = json.dumps(value).encode() if is_first() else b""
    size = int(_from_first(np.asarray(len(said), np.int32)))
    room = np.zeros(1 << size.bit_length(), np.uint8)  # a power of two: few programs pass all messages
    room[: len(said)] = np.frombuffer(said, np.uint8)
    return json.loads(_from_first(room)[:size].tobytes())


def share(n: int, step: int = 1) -> slice:
    """Which of `n` rows are this process's, in whole blocks of `step`."""
    if not several():
        return slice(0, n)
    blocks = -(-n // step)
    first, last = (blocks * (jax.process_index() + k) // jax.process_count() * step for k in (0, 1))
    return slice(min(first, n), min(last, n))


def gathered(x: np.ndarray, n: int) -> np.ndarray:
    """The `n` rows of which each process has its share."""
    if not several():
        return x
    from jax.experimental.multihost_utils import process_allgather

    processes = jax.process_count()
    ends = [n * k // processes for k in range(processes + 1)]
    kept = memory.zeros((n, *x.shape[1:]), x.dtype)
    for block in memory.blocks(-(-n // processes), processes * prod(x.shape[1:]) * x.dtype.itemsize):
        padded = np.zeros((block.stop - block.start, *x.shape[1:]), x.dtype)
        padded[: len(x[block])] = x[block]
        # as bytes, which no precision rounds
        found = process_allgather(padded.reshape(len(padded), -1).view(np.uint8)).reshape(processes, len(padded), -1)
        for rows, begin, end in zip(found, ends[:-1], ends[1:], strict=True):
            own = slice(min(begin + block.start, end), min(begin + block.stop, end))
            one = np.ascontiguousarray(rows[: own.stop - own.start]).view(x.dtype)
            kept[own] = one.reshape(-1, *x.shape[1:])
    return kept


def _from_first(x: np.ndarray) -> np.ndarray:
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return np.asarray(broadcast_one_to_all(x))
