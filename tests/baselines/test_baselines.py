"""What holds for every baseline in the registry."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from baseline_cases import SIZES, problem_for, small_config
from dichroic import Problem, ProblemError, Source, View
from dichroic.baselines import BASELINES, load_baseline
from dichroic.run import Separation

every = pytest.mark.parametrize("name", BASELINES)


def estimated(separation: Separation) -> list[tuple[str, str]]:
    return [(view, s) for view, sources in separation.samples.items() for s in sources]


@every
def test_a_separation_has_the_shape_of_the_problem(name, fitted, tmp_path):
    problem = problem_for(name, 12, seed=1)
    found = fitted[name].separate(problem, draws=3)
    assert set(found.samples) == set(found.chi_square) == set(found.diverged) == set(problem.views)
    assert estimated(found)
    count = 3 if fitted[name].has_posterior else 1
    assert found.point is not fitted[name].has_posterior
    for view, s in estimated(found):
        assert found.draws(view, s).shape == (12, count, *problem.sources[s].shape)
        assert np.isfinite(found.draws(view, s)).all()
    for view, sources in found.samples.items():
        whole = set(sources) == set(problem.views[view].mixing)
        assert np.isfinite(found.chi_square[view]).all() == whole
        assert found.chi_square[view].shape == (12, count)
    disk = fitted[name].separate(problem, draws=3, out=tmp_path / "out.zarr")
    for other in (disk, Separation.open(tmp_path / "out.zarr")):
        assert other.point == found.point
        assert sorted(estimated(other)) == sorted(estimated(found))
        for key, x in found.arrays().items():
            np.testing.assert_array_equal(other.arrays()[key], x)


@every
def test_saved_and_loaded_it_is_the_same(name, fitted, tmp_path):
    problem = problem_for(name, 12, seed=1)
    fitted[name].save(tmp_path / "fit")
    again = load_baseline(tmp_path / "fit")
    assert type(again) is BASELINES[name]
    assert again.config == fitted[name].config
    for key, x in fitted[name].separate(problem, draws=2).arrays().items():
        np.testing.assert_array_equal(again.separate(problem, draws=2).arrays()[key], x)
    for s in fitted[name].modelled():
        np.testing.assert_array_equal(again.sample(s, 3), fitted[name].sample(s, 3))


@every
def test_an_observation_does_not_know_those_after_it(name, fitted):
    problem = problem_for(name, 12, seed=1)
    first = problem.select({view: np.arange(9) for view in problem.views})
    a, b = (fitted[name].separate(p, draws=2) for p in (problem, first))
    for view, s in estimated(a):
        np.testing.assert_allclose(a.draws(view, s)[:9], b.draws(view, s), rtol=1e-3, atol=1e-4)


@every
def test_draws_differ_and_the_estimate_is_their_mean(name, fitted):
    problem = problem_for(name, 12, seed=1)
    point = fitted[name].separate(problem, draws=0)
    assert point.point
    if not fitted[name].has_posterior:
        return
    many, other = (fitted[name].separate(problem, draws=60, seed=seed) for seed in (0, 1))
    assert not many.point
    for view, s in estimated(many):
        assert np.isnan(point.std(view, s)).all()
        assert not np.isclose(many.draws(view, s)[:, 0], many.draws(view, s)[:, 1]).all()
        assert not np.isclose(many.draws(view, s), other.draws(view, s)).all()
        if name != "clvm-vae":  # whose decoder of the mean is not the mean of the decoder
            error = many.std(view, s) / np.sqrt(60)
            np.testing.assert_array_less(np.abs(many.mean(view, s) - point.mean(view, s)), 5 * error + 1e-4)


@every
def test_samples_of_the_prior(name, fitted):
    problem = problem_for(name)
    for s in fitted[name].modelled():
        x = fitted[name].sample(s, 5, seed=1)
        assert x.shape == (5, *problem.sources[s].shape)
        assert np.isfinite(x).all()
        assert not np.isclose(x[0], x[1]).all()
    with pytest.raises(ProblemError, match="has no model of source 'galaxy'"):
        fitted[name].sample("galaxy", 1)


@every
def test_what_cannot_be_done_is_said(name, fitted):
    cls = BASELINES[name]
    with pytest.raises(ValidationError, match="nonsense"):
        cls.Config.model_validate({"nonsense": 1})
    with pytest.raises(TypeError, match=f"takes a {cls.Config.__name__}"):
        cls.fit(problem_for(name), config={})
    y = np.ones((4, 3), np.float32)
    with pytest.raises(ProblemError, match="was not fitted to a source 'stars'"):
        fitted[name].separate(Problem({"stars": Source((3,))}, {"v": View(y, {"stars": 1.0}, 0.1)}))
    s = next(iter(fitted[name].shapes))
    with pytest.raises(ProblemError, match=rf"source '{s}' has shape \(3,\)"):
        fitted[name].separate(Problem({s: Source((3,))}, {"v": View(y, {s: 1.0}, 0.1)}))
    single = Problem({"sky": Source((3,))}, {"v": View(y, {"sky": 1.0}, 0.1)})
    if name in ("fastica", "nmf"):
        with pytest.raises(ProblemError, match="'channel0', 'channel1', 'channel2' are taken to be draws of their own"):
            cls.fit(problem_for(name))
    elif name != "wiener":
        with pytest.raises(ProblemError, match=r"needs a mixture view and a background view.*'v' shows 'sky'"):
            cls.fit(single)


def test_folders_that_hold_no_baseline(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no baseline"):
        load_baseline(tmp_path)
    fitted["pcpca"].save(tmp_path)
    with pytest.raises(ValueError, match="holds the baseline 'pcpca', not 'wiener'"):
        BASELINES["wiener"].load(tmp_path)
    header = json.loads((tmp_path / "baseline.json").read_text())
    said = {
        "version": "format version 99",
        "format": "not a dichroic",
        "baseline": "which this version does not know",
    }
    for change, match in said.items():
        changed = {**header, change: 99 if change == "version" else "x"}
        (tmp_path / "baseline.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=match):
            load_baseline(tmp_path)


def in_unit(problem: Problem, unit: float) -> Problem:
    """The same observations in a unit that makes them so many times as large, without truth."""
    views = {name: View(unit * v.y, v.mixing, unit * v.noise.std) for name, v in problem.views.items()}
    return Problem(problem.sources, views)


# powers of two change no digit: what differs is a floor or a tolerance that has a unit
@pytest.mark.parametrize("unit", [2.0**-66, pytest.param(2.0**66, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * n.startswith("clvm")) for n in BASELINES])
def test_units_do_not_matter(name, fitted, unit):
    problem = problem_for(name, SIZES.get(name, 40))
    again = BASELINES[name].fit(in_unit(problem, unit), small_config(name))
    some = problem_for(name, 12, seed=1)
    found, expected = again.separate(in_unit(some, unit), draws=2), fitted[name].separate(some, draws=2)
    for view, s in estimated(expected):
        x = expected.draws(view, s)
        # sums in another order: of a fit that stops by a tolerance, and of training
        np.testing.assert_allclose(found.draws(view, s) / unit, x, rtol=0, atol=1e-4 * np.abs(x).max(), err_msg=s)
