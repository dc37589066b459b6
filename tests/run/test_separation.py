"""Separating: in memory or on disk, in any batches, whole or not there."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from dichroic import Problem, Source, View
from dichroic.diffusion import Cost
from dichroic.posterior import MSDM, Auto, Draws, Method, observation_keys
from dichroic.run import RunError, Separation, separate
from dichroic.run.separation_files import check_free, write_npz
from dichroic.run.separation_writer import SeparationWriter
from run_cases import tiny_config, tiny_problem

SAMPLING = tiny_config().sampling


def batches_of(n: int) -> Method:
    return SAMPLING.model_copy(update={"batch": n})


def test_the_result_has_the_shape_of_the_data(finished):
    found = finished.separate(draws=3)
    assert {view: set(sources) for view, sources in found.samples.items()} == {
        "empty": {"sky"},
        "both": {"sky", "star"},
    }
    assert found.draws("both", "star").shape == (48, 3, 2)
    assert found.mean("both", "star").shape == found.std("both", "star").shape == (48, 2)
    assert found.quantile("both", "star", 0.5).shape == (48, 2)
    assert found.chi_square["both"].shape == found.diverged["both"].shape == (48, 3)
    assert found.evaluations > 0


def test_on_disk_as_in_memory(finished, tmp_path):
    memory = finished.separate(tiny_problem(20, seed=3), draws=2)
    disk = finished.separate(tiny_problem(20, seed=3), draws=2, out=tmp_path / "draws.zarr")
    again = Separation.open(tmp_path / "draws.zarr")
    for other in (disk, again):
        assert other.evaluations == memory.evaluations
        for name, x in memory.arrays().items():
            np.testing.assert_array_equal(other.arrays()[name], x)
    assert [path.name for path in tmp_path.iterdir()] == ["draws.zarr"]


def test_batches_do_not_change_results(finished):
    problem = tiny_problem(20, seed=3)
    a, b = (finished.separate(problem, draws=1, sampling=batches_of(n)) for n in (7, 16))
    for name, x in a.arrays().items():
        np.testing.assert_allclose(b.arrays()[name], x, rtol=1e-4, atol=1e-5)


def test_an_observation_does_not_know_those_after_it(finished):
    problem = tiny_problem(20, seed=3)
    first = problem.select({name: np.arange(5) for name in problem.views})
    a, b = (finished.separate(p, draws=1) for p in (problem, first))
    np.testing.assert_allclose(a.draws("both", "star")[:5], b.draws("both", "star"), rtol=1e-4, atol=1e-5)


def test_draws_that_leave_their_source_are_said_by_method_and_setting(finished):
    wild = MSDM(width="level", gamma=0.01, steps=4, batch=16)
    words = r"100.0% of the draws are not finite.*'msdm', steps = 4, gamma = 0.01, width = level"
    with pytest.warns(UserWarning, match=words):
        found = finished.separate(tiny_problem(8, seed=3), draws=1, sampling=wild)
    assert found.diverged["both"].all()


def test_seeds_and_draws_differ(finished):
    problem = tiny_problem(20, seed=3)
    a, b = (finished.separate(problem, draws=2, seed=seed).draws("both", "star") for seed in (0, 1))
    assert not np.isclose(a, b).any()
    assert not np.isclose(a[:, 0], a[:, 1]).any()


def test_fewer_draws_are_the_first_ones(finished):
    problem = tiny_problem(20, seed=3)
    a, b = (finished.separate(problem, draws=n).draws("both", "star") for n in (1, 2))
    np.testing.assert_array_equal(a[:, 0], b[:, 0])


def test_other_views_and_operators(finished):
    y = np.ones((3, 2), np.float32)
    problem = Problem({"star": Source((2,))}, {"alone": View(y, {"star": 2.0}, 0.01)})
    found = finished.separate(problem, draws=1)
    np.testing.assert_allclose(found.mean("alone", "star"), 0.5, atol=0.05)


def test_progress(finished):
    seen = []
    finished.separate(tiny_problem(20, seed=3), draws=2, report=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 80), (20, 80), (36, 80), (40, 80), (56, 80), (60, 80), (76, 80), (80, 80)]


def test_sources_that_are_not_known(finished):
    y = np.ones((3, 2))
    with pytest.raises(RunError, match="no prior for source 'ski'; there are: 'sky', 'star'; did you mean 'sky'"):
        finished.separate(Problem({"ski": Source((2,))}, {"v": View(y, {"ski": 1.0}, 0.1)}))
    with pytest.raises(RunError, match=r"shape \(3,\), its prior \(2,\)"):
        finished.separate(Problem({"sky": Source((3,))}, {"v": View(np.ones((3, 3)), {"sky": 1.0}, 0.1)}))
    with pytest.raises(RunError, match=r"no source 'ski'.*did you mean 'sky'"):
        finished.sample("ski", 3)


def test_what_is_there_is_not_replaced_unasked(finished, tmp_path):
    problem, out = tiny_problem(4), tmp_path / "draws.zarr"
    finished.separate(problem, draws=1, out=out)
    with pytest.raises(RunError, match="is there already"):
        finished.separate(problem, draws=2, out=out)
    assert finished.separate(problem, draws=2, out=out, overwrite=True).draws("both", "sky").shape == (4, 2, 2)


def test_folders_of_others_are_never_replaced(finished, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(RunError, match="has not written"):
        finished.separate(tiny_problem(4), draws=1, out=tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").exists()
    with pytest.raises(RunError, match=r"\.zarr, \.npz, \.fits"):
        check_free(tmp_path / "draws.h5")


def test_a_store_appears_when_it_is_whole(finished, tmp_path):
    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished.separate(tiny_problem(4), draws=4, out=tmp_path / "draws.zarr", report=stop)
    assert not (tmp_path / "draws.zarr").exists()


def test_with_priors_from_anywhere(finished):
    problem = tiny_problem(4)
    key = jax.random.fold_in(jax.random.key(0), 7)
    a = separate(problem, finished.priors, key=key, draws=1, sampling=SAMPLING)
    b = finished.separate(problem, draws=1)
    np.testing.assert_array_equal(a.draws("both", "sky"), b.draws("both", "sky"))


@pytest.fixture
def spoiled() -> Separation:
    """Three observations: four good draws; one good draw; none."""
    samples = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    diverged = np.array([[False] * 4, [True, False, True, True], [True] * 4])
    return Separation({"v": {"s": samples}}, {"v": np.ones((3, 4))}, {"v": diverged}, 1)


def test_diverged_draws_are_left_out(spoiled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, std, median = spoiled.mean("v", "s"), spoiled.std("v", "s"), spoiled.quantile("v", "s", 0.5)
    np.testing.assert_array_equal(mean, [[3, 4], [10, 11], [np.nan, np.nan]])
    np.testing.assert_allclose(std[0], np.std([0, 2, 4, 6], ddof=1))
    assert np.isnan(std[1:]).all()
    np.testing.assert_array_equal(median[:2], [[3, 4], [10, 11]])
    assert np.isnan(spoiled.draws("v", "s")[1, 0]).all()
    assert not np.isnan(spoiled.samples["v"]["s"]).any()  # what was drawn stays to be looked at


def test_arrays_are_written_whole_or_not_at_all(spoiled, tmp_path, monkeypatch):
    write_npz(tmp_path / "new" / "out.npz", spoiled.arrays())
    with np.load(tmp_path / "new" / "out.npz") as file:
        assert set(file) == {"v/s/mean", "v/s/std", "v/s/draws", "v/chi_square", "v/diverged"}

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        write_npz(tmp_path / "bad.npz", {})
    assert not (tmp_path / "bad.npz").exists()


def test_a_writer_counts_evaluations():
    ones = np.ones(2, np.float32)
    with SeparationWriter(None, {"v": (2, {"s": (1,)})}, 2) as writer:
        for draw, cost in enumerate((Cost(3, 1), Cost(1, 0))):
            writer.write("v", draw, Draws({"s": ones[:, None]}, ones, ones, ones > 2, ones > 2, cost, Cost(12)))
    # and what all four draws share
    assert writer.finish().evaluations == 4 + 12 // 4


def test_evaluations_are_those_of_the_summary_and_bound_once(finished):
    view = tiny_problem(20, seed=3).select({"both": np.arange(20), "empty": np.arange(20)})
    priors, calls = finished.priors, []
    method = Auto(candidates=True, components=8, steps=2, batch=16)
    bind = type(method).attach

    def counted(self, task):
        calls.append(list(task.view.mixing))
        return bind(self, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(method), "attach", counted)
        found = separate(view, priors, key=jax.random.key(0), draws=1, sampling=method)
        separate(view, priors, key=jax.random.key(0), draws=3, sampling=method)
    assert len(calls) == 2 * len(view.views)
    largest = 0.0
    for number, v in enumerate(view.views.values()):
        key = jax.random.fold_in(jax.random.key(0), number)
        bound = method.bind(v, priors, key=key)
        drawn = bound.draw(observation_keys(jax.random.fold_in(key, 0), len(v)))
        assert drawn.shared.total == bound.shared.total > 0
        largest = max(largest, drawn.summary["evaluations"])
    assert found.evaluations == round(largest)


def test_draws_keep_to_the_range(finished):
    problem = tiny_problem(20, seed=3)
    free = finished.separate(problem, draws=2)
    known = {s: replace(source, range=[0, 0.5]) for s, source in problem.sources.items()}
    kept = finished.separate(Problem(known, problem.views), draws=2)
    for view, sources in free.samples.items():
        for s, x in sources.items():
            assert x.min() < 0
            np.testing.assert_array_equal(kept.samples[view][s], np.clip(x, 0, 0.5))
            np.testing.assert_array_equal(kept.mean(view, s), np.clip(free.mean(view, s), 0, 0.5))
        np.testing.assert_array_equal(kept.chi_square[view], free.chi_square[view])
