"""A problem of two sources and settings that fit it in seconds, for the tests of runs and of the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from dichroic import FitConfig, Problem, Source, View

SETTINGS = {
    "laps": 2,
    "held_out": 0.25,
    "sigma_max": 10.0,
    "gaussian": {"laps": 4},
    "network": {"kind": "mlp", "width": 8, "depth": 1, "embedding": 4},
    "training": {"steps": 8, "batch": 16},
    # draws from closed-form priors would need no sampling; what is tested here is sampling
    "sampling": {"kind": "annealed", "step": "ddim", "steps": 3, "warm_steps": 2, "cold_laps": 0, "batch": 16},
    "draws": 2,
    "mean_share": 1.0,
}


def tiny_config(**changes) -> FitConfig:
    return FitConfig.model_validate({**SETTINGS, **changes})


def tiny_arrays(n: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sky, under = (rng.normal(size=(n, 2)) * [1.0, 0.4] + 1 for _ in range(2))
    star = np.sign(rng.normal(size=(n, 2))) * [0.3, 1.0]
    noise = 0.1 * rng.normal(size=(2, n, 2))
    return {"empty": sky + noise[0], "both": under + 0.5 * star + noise[1], "star": star}


def tiny_problem(n: int = 64, seed: int = 0, title: str = "Tiny") -> Problem:
    arrays = {name: x.astype(np.float32) for name, x in tiny_arrays(n, seed).items()}
    return Problem(
        {"sky": Source((2,)), "star": Source((2,))},
        {
            "empty": View(arrays["empty"], {"sky": 1.0}, 0.1),
            "both": View(arrays["both"], {"sky": 1.0, "star": 0.5}, 0.1, truth={"star": arrays["star"]}),
        },
        title,
    )


PROBLEM_FILE = """\
title = "Tiny"

[sources.sky]
shape = [2]

[sources.star]
shape = [2]

[views.empty]
y = "data.npz:empty"
noise = 0.1
mixing = { sky = 1.0 }

[views.both]
y = "data.npz:both"
noise = 0.1
mixing = { sky = 1.0, star = 0.5 }
truth = { star = "data.npz:star" }
"""


def write_tiny(folder: Path, n: int = 64, seed: int = 0, text: str = PROBLEM_FILE, **changes) -> Path:
    """Writes a problem file with its data and settings."""
    import tomli_w

    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **{name: x.astype(np.float32) for name, x in tiny_arrays(n, seed).items()})
    file = folder / "problem.toml"
    file.write_text(text + "\n" + tomli_w.dumps({"fit": {**SETTINGS, **changes}}))
    return file


def results(run: Path) -> dict[str, bytes]:
    """What a run gives, byte by byte: the learned priors, the separated draws, and the records less their times."""
    files = [f for part in ("priors", "separated.zarr") for f in sorted((run / part).rglob("*")) if f.is_file()]
    found = {str(file.relative_to(run)): file.read_bytes() for file in files}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        del record["seconds"]
    return {**found, "metrics.jsonl": json.dumps(records).encode()}


def environment(cache: Path) -> dict[str, str]:
    """For processes of their own: on the CPU, sharing compiled programs, compiled as the tests compile."""
    source = Path(__file__).parents[1] / "src"
    before = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "COV_"))}
    ours = {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "false"),
        "DICHROIC_CACHE": str(cache),
        "PYTHONPATH": str(source),
        "COLUMNS": "80",
    }
    return {**before, **ours}


def start(arguments: list[str], cache: Path, **options) -> subprocess.Popen:
    """Starts the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dichroic", *arguments],
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def call(arguments: list[str], cache: Path, **options) -> subprocess.CompletedProcess:
    """The same, until its end."""
    process = start(arguments, cache, **options)
    out, err = process.communicate(timeout=280)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
