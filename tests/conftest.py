"""Fixtures shared by all tests. The shape and type checks of the package are switched on in `pyproject.toml`."""

import os
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
QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)


def pytest_configure(config):
    """Compiles quickly, for a third of the time, unless the tests that take minutes are asked for."""
    known = jax.__version_info__[:2] == QUICK_RELEASE
    if known and config.option.markexpr == "not slow":  # as pyproject.toml has it
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK]).strip()


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items):
    """Of the tests marked `crossed`, the fewest in which every value of every parameter occurs; the others are slow."""
    crossed = defaultdict(list)
    for item in items:
        if item.get_closest_marker("crossed"):
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
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
