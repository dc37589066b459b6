"""One finished run that many tests look at."""

import pytest

from dichroic import Run, fit
from run_cases import tiny_config, tiny_problem


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Run:
    return fit(tiny_problem(), tiny_config(), out=tmp_path_factory.mktemp("runs") / "finished")
