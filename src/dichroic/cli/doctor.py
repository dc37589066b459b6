"""`dichroic doctor`: what is found out about an installation."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dichroic.cli.environment import cache_folder, prepare, threads_flag_set
from dichroic.cli.messages import complain, say
from dichroic.cli.options import Json

__all__ = ["doctor", "examine", "show"]


def doctor(*, json: Json = False) -> int:
    """Look at the installation: versions, devices, and a calculation with a known answer."""
    before = os.environ.get("XLA_FLAGS", "")
    prepare()
    from dichroic.cli.output import print_json

    found = examine(before)
    print_json(found) if json else show(found)
    return 0 if found["self_test"]["passed"] else 1


def examine(flags: str) -> dict[str, Any]:
    """Versions, devices, cache and a calculation; `flags` are the XLA flags that the user had set."""
    import jax

    from dichroic.run.provenance import provenance

    found = provenance()
    devices = [{"platform": d.platform, "kind": str(d.device_kind)} for d in jax.devices()]
    folder = cache_folder()
    files = [file for file in folder.glob("*-cache") if file.is_file()] if folder is not None else []
    return {
        "versions": {"python": platform.python_version(), **found["versions"]},
        "system": found["platform"],
        "devices": devices,
        "gpu": any(d["platform"] != "cpu" for d in devices),
        "gpu_in_machine": _gpu_in_machine(),
        "cache": {"folder": None if folder is None else str(folder), "programs": len(files), "bytes": _size(files)},
        "xla_flags": {"yours": flags, "cpu_threads_off": threads_flag_set()},
        "self_test": _self_test(),
    }


def _gpu_in_machine() -> str | None:
    """The graphics cards that the system's own tool names."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _self_test() -> dict[str, Any]:
    r"""Draws from a Gaussian posterior, against its closed form.

    One source, :math:`x \sim \mathcal N(0, 1)`, and :math:`y = x + n`, :math:`n \sim \mathcal N(0, 1)`: the posterior
    is :math:`\mathcal N(y / 2, 1 / 2)`.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dichroic.diffusion import DenoiserPrior, GaussianDenoiser
    from dichroic.posterior import Auto, observation_keys
    from dichroic.problem import Problem, Source, View

    begin = time.perf_counter()
    n, y = 2048, 1.5
    problem = Problem({"x": Source((1,))}, {"v": View(np.full((n, 1), y, np.float32), {"x": 1.0}, 1.0)})
    one = jnp.ones(1)
    prior = DenoiserPrior(GaussianDenoiser(mean=0 * one, basis=jnp.eye(1), values=one, rest=jnp.zeros(())))
    key = jax.random.key(0)
    bound = Auto().bind(problem.views["v"], {"x": prior}, key=key)
    x = bound.draw(observation_keys(key, n)).samples["x"]
    mean, variance = float(x.mean()), float(x.var())
    # five standard errors
    near = abs(mean - y / 2) < 5 * np.sqrt(0.5 / n) and abs(variance - 0.5) < 5 * 0.5 * np.sqrt(2 / n)
    return {
        "passed": bool(near),
        "mean": mean,
        "expected_mean": y / 2,
        "variance": variance,
        "expected_variance": 0.5,
        "seconds": time.perf_counter() - begin,
    }


def show(found: Mapping[str, Any]) -> None:
    """Prints it."""
    from dichroic.cli.output import make_table, print_table

    table = make_table("Versions", "package", "version")
    for name, version in found["versions"].items():
        table.add_row(name, version)
    print_table(table)
    devices = ", ".join(f"{device['kind']} ({device['platform']})" for device in found["devices"])
    say(f"devices:   {devices}")
    cache = found["cache"]
    if cache["folder"] is None:
        say("cache:     off (DICHROIC_CACHE=off): every process compiles its programs anew")
    else:
        say(f"cache:     {cache['folder']}, {cache['programs']} compiled programs, {cache['bytes'] / 1e6:.1f} MB")
    off = found["xla_flags"]["cpu_threads_off"]
    say(f"XLA:       thread pool of the CPU {'off, as it should be' if off else 'ON: it can deadlock'}")
    test = found["self_test"]
    say(
        f"self-test: {'passed' if test['passed'] else 'FAILED'} in {test['seconds']:.1f} s: "
        f"posterior mean {test['mean']:.3f} ({test['expected_mean']}), variance {test['variance']:.3f} (0.5)"
    )
    if not test["passed"]:
        complain(
            "error", "a calculation with a known answer came out wrong; results of this installation are not to be used"
        )
    if not found["gpu"]:
        card = found["gpu_in_machine"]
        there = f"this machine has one ({card}), and JAX does not see it; " if card else ""
        blocked = " (JAX_PLATFORMS is set to cpu)" if "cpu" in os.environ.get("JAX_PLATFORMS", "") else ""
        complain("NO GPU", f'{there}computing on the CPU{blocked}. For an NVIDIA GPU: pip install "jax[cuda12]"')
