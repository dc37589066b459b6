"""Fixtures shared by all tests. The shape and type checks of the package are switched on in `pyproject.toml`."""

import jax
import numpy as np
import pytest


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
