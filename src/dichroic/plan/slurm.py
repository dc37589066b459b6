"""A batch script for Slurm: one task per device, stopped in time, and put back into the queue until it is done."""

from math import ceil
from pathlib import Path
from shlex import quote

from dichroic.store import readable

__all__ = ["batch_script"]

_WARNING = 120  # seconds before the end of its time at which a job is told
_LEAST, _MOST = 0.5, 24.0  # hours
_SPARE = 2.0  # times and memory of another machine are not those of this one


def batch_script(
    problem: Path, out: Path, seconds: float, memory: float, devices: int, gpu: bool, budget: str | None = None
) -> str:
    """The script that fits a problem.

    **Arguments:** `problem`, its file; `out`, the run folder, which all nodes see; `seconds` and `memory` (bytes, of a
    process), as estimated on this machine; `devices`, how many are used; `gpu`, whether they are GPUs; `budget`, of
    memory.
    """
    hours = min(max(_SPARE * seconds / 3600, _LEAST), _MOST)
    minutes = ceil(60 * hours)
    options = [
        f"job-name={readable(out.name) or 'dichroic'}",
        f"ntasks={devices}",
        *(["gpus-per-task=1"] if gpu else []),
        "cpus-per-task=4",
        f"mem-per-cpu={max(1, ceil(_SPARE * memory / 1e9 / 4))}G",
        f"time={minutes // 60:02d}:{minutes % 60:02d}:00",
        f"signal=USR1@{_WARNING}",
        "requeue",
        "open-mode=append",
        "output=%x-%j.log",
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH --{option}" for option in options)]
    flags = f" --memory {quote(budget)}" if budget else ""
    flags += " --distributed slurm" if devices > 1 else ""
    lines += [
        "",
        "# The job is told before its time is over: the fit stops with exit code 75, and goes on when the job has its",
        "# next turn. What is lost is the lap that was being made.",
        f"srun dichroic fit {quote(str(problem))} --out {quote(str(out))}{flags}",
        "code=$?",
        'if [ "$code" -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; exit 0; fi',
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"
