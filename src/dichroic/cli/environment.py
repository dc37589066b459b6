"""What has to be arranged before JAX starts: threads of the CPU, and the cache of compiled programs."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dichroic.cli.options import Conditions

__all__ = ["cache_folder", "prepare", "threads_flag_set"]

_THREADS = "--xla_cpu_multi_thread_eigen"


def prepare(conditions: "Conditions | None" = None) -> None:
    """Arranges for the commands that compute; called before anything imports JAX."""
    said = {} if conditions is None else vars(conditions)
    # batched factorisations and FFTs can deadlock in XLA's own thread pool on the CPU; devices are not touched by it
    if _THREADS not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_THREADS}=false".strip()
    # XLA's alarms of slow compiling are for its own developers; what fails is raised as well as logged
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if (folder := cache_folder()) is not None:
        import jax

        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    hosts = [said.get(name) for name in ("distributed", "processes", "process")]
    if hosts != [None] * 3:
        from dichroic.hosts import join

        join(*hosts)
    if (memory := said.get("memory")) is not None:
        from dichroic.memory import limit

        limit(memory)
    from dichroic.problem.functions import allow_everywhere

    allow_everywhere(said.get("allow_code", False))


def cache_folder() -> Path | None:
    """Where compiled programs are kept between processes, None when that is switched off.

    `DICHROIC_CACHE` is a folder, or `off`. By default it is the place that the system has for such things; a user
    without a home has none.
    """
    try:
        return _cache_folder()
    except RuntimeError:
        return None


def _cache_folder() -> Path | None:
    wanted = os.environ.get("DICHROIC_CACHE", "")
    if wanted.lower() in ("off", "0", "no", "false"):
        return None
    if wanted:
        return Path(wanted).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dichroic"


def threads_flag_set() -> bool:
    """Whether XLA's thread pool on the CPU is switched off."""
    return f"{_THREADS}=false" in os.environ.get("XLA_FLAGS", "")
