"""An instrument that is learned and then drawn, from the problem to the separated file."""

import numpy as np
import pytest

from dichroic import PerSample, Problem, Source, Unknown, View, fit
from dichroic.run import Run, Unidentified
from dichroic.run.separation import Separation
from run_cases import tiny_arrays, tiny_config

SOURCES = {"sky": Source((2,)), "star": Source((2,))}


def problem(gain=0.5, empty=0.1, clean=True):
    arrays = {name: x.astype(np.float32) for name, x in tiny_arrays(64).items()}
    views = {"star": View(arrays["star"][:16], {"star": 1.0}, 1e-3)} if clean else {}
    views |= {
        "empty": View(arrays["empty"], {"sky": 1.0}, empty),
        "both": View(arrays["both"], {"sky": 1.0, "star": gain}, 0.1),
    }
    return Problem(SOURCES, views)


@pytest.mark.slow
def test_a_gain_is_learned_and_its_posterior_is_in_the_separated_file(tmp_path):
    """Sixteen clean examples of the star are what lets its amplitude be learned."""
    run = fit(problem(Unknown(0.8)), tiny_config(laps=0), out=tmp_path / "run")
    found = run.folder.instrument()
    value, std = found.values["both"]["mixing.star"], found.stds["both"]["mixing.star"]
    assert abs(value - 0.5) < 3 * std < 0.5
    again = Run(tmp_path / "run", problem=problem(Unknown(0.8)))
    assert again.problem.views["both"].mixing["star"].factor == pytest.approx(float(value))
    drawn = Separation.open(run.separated).instrument["both"]["mixing.star"]
    assert drawn.shape[1] == run.config.draws and abs(np.mean(drawn) - value) < 4 * std
    assert len(np.unique(np.asarray(drawn)[0])) > 1


@pytest.mark.slow
def test_a_gain_of_every_observation_is_drawn(tmp_path):
    run = fit(problem(PerSample(Unknown(0.5, 0.1))), tiny_config(laps=1), out=tmp_path / "run")
    drawn = run.separate(draws=2).instrument["both"]["mixing.star"]
    assert np.shape(drawn)[1:] == (2,) and 0.05 < np.std(drawn) < 0.15


def test_what_cannot_be_learned_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(Unidentified, match=r"its noise cannot be learned.* to mend it"):
        fit(problem(empty="learn", clean=False), tiny_config(laps=0), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
