"""Every baseline, fitted once."""

import pytest

from baseline_cases import SIZES, problem_for, small_config, without_truth
from dichroic.baselines import BASELINES


@pytest.fixture(scope="session")
def fitted():
    """`{name: fitted baseline}`; the truth was not there to be looked at."""
    return {
        name: BASELINES[name].fit(without_truth(problem_for(name, SIZES.get(name, 40))), small_config(name))
        for name in BASELINES
    }
