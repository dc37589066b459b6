"""The batch script is one that a shell takes, and asks for what was estimated."""

import subprocess
from pathlib import Path

from dichroic.plan import batch_script


def test_a_batch_script_asks_for_a_task_per_device(tmp_path):
    text = batch_script(Path("/data/my problem.toml"), Path("runs/sky-1"), 7200.0, 3e9, 4, True)
    for line in ("ntasks=4", "gpus-per-task=1", "time=04:00:00", "signal=USR1@120", "requeue", "mem-per-cpu=2G"):
        assert f"#SBATCH --{line}\n" in text
    assert "srun dichroic fit '/data/my problem.toml' --out runs/sky-1 --distributed slurm\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_a_job_stopped_in_time_goes_back_into_the_queue(tmp_path):
    text = batch_script(Path("p.toml"), Path("runs/a-1"), 1.0, 1e8, 1, False)
    assert "--distributed" not in text and "gpus" not in text and "time=00:30:00" in text and "--memory" not in text
    assert "--out runs/a-1 --memory 2GB\n" in batch_script(Path("p.toml"), Path("runs/a-1"), 1.0, 1e8, 1, False, "2GB")
    for name, does in (("srun", 'exit "$CODE"'), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)

    def ran(code: int) -> tuple[int, str]:
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "CODE": str(code)}
        done = subprocess.run(["bash"], input=text, text=True, env=path, capture_output=True)
        return done.returncode, done.stdout

    assert ran(75) == (0, "requeue 7\n") and ran(0) == (0, "") and ran(1) == (1, "")
