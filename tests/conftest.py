"""Fixtures shared by all tests. The shape and type checks of the package are switched on in `pyproject.toml`."""

import gc
import os
import sys
from collections import defaultdict
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

# commands that run inside the tests leave the user's own cache of programs alone
os.environ["DICHROIC_CACHE"] = "off"

# Most of the time of a test is the compiler's, and what it compiles runs for milliseconds. A flag that XLA does not
# know ends the process, and every release knows others.
QUICK_RELEASE = (0, 10)
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def _compiles_quickly(config) -> bool:
    return config.option.markexpr == "not slow"  # as pyproject.toml has it: not where minutes are asked for


def pytest_collection_finish():
    """What has been imported stays: the collector of garbage need not look through it each time."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    if _compiles_quickly(config) and jax.__version_info__[:2] == QUICK_RELEASE:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
    # what one worker has compiled the other need not, nor the next run; `make clean` forgets it
    if (cache := getattr(config, "cache", None)) is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


# Rooms whose tests go through the whole program as its users do, hundreds of thousands of calls: the checks of shapes
# and types would take half of their time, and every array that comes by is checked in the room that it belongs to.
AS_USERS_RUN = {"cli", "plan", "report", "run", "studies"}


@pytest.hookimpl(tryfirst=True)  # before the fixtures, which compile and call as well
def pytest_runtest_setup(item):
    """Compiles without optimisation, for a third of the time, but for tests marked `runs_long`."""
    quick = _compiles_quickly(item.config) and not item.get_closest_marker("runs_long")
    jax.config.update("jax_disable_most_optimizations", quick)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quick)  # of the processes that it starts
    if quick and (layout := sys.modules.get("matplotlib.layout_engine")) is not None:
        # no test asks where axes lie, and to find that out takes half the time of a figure
        layout.ConstrainedLayoutEngine.execute = lambda self, figure: None
    jaxtyping.config.update("jaxtyping_disable", item.path.relative_to(item.config.rootpath).parts[1] in AS_USERS_RUN)


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items):
    """Of a law over several lists, the fewest tests in which every entry of every list occurs; the others are slow."""
    crossed = defaultdict(list)
    for item in items:
        if len(list(item.iter_markers("parametrize"))) > 1 and not item.get_closest_marker("slow"):
            crossed[item.nodeid.partition("[")[0]].append(item)
    for combinations in crossed.values():
        values = {item: {(name, id(value)) for name, value in item.callspec.params.items()} for item in combinations}
        unseen = set().union(*values.values())
        while unseen:
            most = max(values, key=lambda item: len(unseen & values[item]))
            unseen -= values.pop(most)
        for item in values:
            item.add_marker("slow")


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forgets compiled programs before they are too many: on Linux a process that maps too much memory is killed."""
    yield
    maps, limit = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
    if limit.exists() and maps.read_bytes().count(b"\n") > int(limit.read_text()) // 2:
        jax.clear_caches()


@pytest.fixture
def float64():
    """Runs the test in double precision: comparisons with closed forms are exact to rounding."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def getkey():
    """A function that returns a new random key at every call, the same ones in every run."""
    state = {"key": jax.random.key(20_240_613), "calls": 0}

    def next_key():
        state["calls"] += 1
        return jax.random.fold_in(state["key"], state["calls"])

    return next_key


@pytest.fixture
def rng():
    """A seeded NumPy generator."""
    return np.random.default_rng(20_240_613)


@pytest.fixture
def as_for_users():
    """Without the shape and type checks of the tests: wrong arguments reach our own checks, as they do for users."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
