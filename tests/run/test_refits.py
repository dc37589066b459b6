"""What a fit does not know of its populations: kept with the run, and in the draws of whatever it separates."""

import numpy as np
import pytest

from dichroic.posterior import separation_key
from dichroic.run import Run, fit, separate
from dichroic.run.refits import load_refits
from run_cases import tiny_config, tiny_problem

CLOSED = {"laps": 0, "held_out": 0.0, "sampling": {"kind": "auto"}, "components": {"components": 1}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    config = tiny_config(**CLOSED, gaussian={"laps": 8, "refits": 3})
    return fit(tiny_problem(n=48), config, out=tmp_path_factory.mktemp("refits") / "run")


def test_draws_are_widened_and_means_are_not_moved(run):
    refits = load_refits(run.path)
    assert len(refits) == 3 and set(refits[0]) == {"sky", "star"}
    others = tiny_problem(seed=5)
    found = run.separate(others, draws=48)
    plain = separate(others, run.priors, key=separation_key(0), draws=48)
    for s in ("sky", "star"):
        np.testing.assert_array_equal(found.mean("both", s), plain.mean("both", s))
        added = found.draws("both", s) - plain.draws("both", s)  # one of three moves, whatever the draw
        assert len(np.unique(added[0, :, 0].round(4))) == 3
        assert found.std("both", s).mean() > plain.std("both", s).mean()
    # a source that no refit has is known
    known = separate(others, run.priors, key=separation_key(0), draws=2, refits=[{"sky": r["sky"]} for r in refits])
    assert known.draws("both", "star").shape == (64, 2, 2)


def test_a_finished_run_is_what_it_was(run):
    before = (run.path / "refits.safetensors").read_bytes()
    fit(tiny_problem(n=48), run.config, out=run.path)
    assert (run.path / "refits.safetensors").read_bytes() == before


@pytest.mark.parametrize("gaussian", [{"laps": 4, "refits": 0}, {"laps": 4, "refits": 1}], ids=str)
def test_none_are_made_where_none_are_wanted(gaussian, tmp_path):
    found = fit(tiny_problem(n=48), tiny_config(**CLOSED, gaussian=gaussian), out=tmp_path / "run")
    assert load_refits(found.path) == []


def test_none_are_made_of_many_observations(tmp_path):
    config = tiny_config(**CLOSED, gaussian={"laps": 4, "refits": 3})
    assert load_refits(fit(tiny_problem(n=200), config, out=tmp_path / "run").path) == []
