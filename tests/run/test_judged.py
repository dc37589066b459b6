"""What a fit says of itself without a truth: areas of its laps, and what is read from them."""

import sys
import threading

import jax
import numpy as np
import pytest

from dichroic.algebra import Components
from dichroic.diagnose import LearnedModel
from dichroic.diffusion import DenoiserPrior, Scaling, Schedule
from dichroic.em import EMState
from dichroic.run import Judged, Quiet, RunFolder, fit, judged, summarize
from dichroic.run.fit import _Fit
from dichroic.run.judged import law_of
from dichroic.run.progress import summary_line
from report_cases import make_gaussian
from run_cases import tiny_config, tiny_problem


@pytest.mark.parametrize(
    ("area", "first", "reading", "says"),
    [
        (0.51, 0.52, "not told apart", ""),
        (0.58, 0.58, "told apart", "tells held-out observations"),
        (0.60, 0.90, "told apart, but less than with the closed form", "tells held-out observations"),
        (0.56, 0.50, "not told apart", ""),  # within two standard errors of either
        (0.90, 0.60, "worse than the closed form", "more easily than"),
    ],
)
def test_what_is_read_from_an_area(area, first, reading, says):
    found = Judged("both", area, 0.03, first, 0.03)
    assert found.reading == reading
    assert says in found.sentence and bool(says) == bool(found.sentence)


def test_the_lap_that_is_used_stands_beside_the_first_one():
    def record(stage, lap, best, area):
        return {"stage": stage, "lap": lap, "best_lap": best, "law": {"both": [area, 0.02]}}

    records = [record("a", 0, 0, 0.9), record("a", 1, 1, 0.8), record("b", 0, 0, 0.8), record("b", 1, 1, 0.6)]
    assert judged([*records, record("b", 2, 1, 0.7)]) == [Judged("both", 0.6, 0.02, 0.9, 0.02)]
    assert judged([{"stage": "a", "lap": 0, "best_lap": 0}]) == judged([]) == []  # of older runs


def test_laps_are_judged_by_what_was_held_out(tmp_path):
    config = tiny_config(laps=1, judged="laps")
    run = fit(tiny_problem(48), config, out=tmp_path / "run", held_out=tiny_problem(40, 5))
    assert [set(record["law"]) for record in run.records] == [{"empty", "both"}] * 2
    assert all(0 <= area <= 1 and 0 < error < 0.2 for r in run.records for area, error in r["law"].values())
    assert "AUC empty 0." in summary_line(run.records[0])
    (empty, _) = summarize(run)["law"]
    best = run.records[run.records[-1]["best_lap"]]
    assert [empty["area"], empty["first"]] == [r["law"]["empty"][0] for r in (best, run.records[0])]


@pytest.mark.parametrize(("which", "laps"), [("laps", [0, 1, 2]), ("ends", [0, 1]), ("never", [])])
def test_which_laps_are_judged(which, laps, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["dichroic.run.fit"], "law_of", lambda *_: {"both": [0.5, 0.1]})
    problem = tiny_problem(48)
    job = _Fit(problem, None, {}, {}, RunFolder(tmp_path), tiny_config(judged=which))
    job.progress, job.asked = Quiet(), threading.Event()
    records = [{"stage": "joint", "lap": lap, "best_lap": min(lap, 1), "seconds": {}} for lap in range(3)]
    for lap in range(3):
        job._judge(EMState(0, lap, {}, {"both": {}}, {}, records=records[: lap + 1]))
    job._judge(EMState(1, 0, {}, {}, {}, records=records))
    assert [record["lap"] for record in records if "law" in record] == laps


def test_few_observations_are_not_judged():
    problem = tiny_problem(16)
    fitted = make_gaussian(problem)
    priors = {s: fitted.prior(s, source.shape, tiny_config().schedule) for s, source in problem.sources.items()}
    assert law_of(problem, priors, jax.random.key(0)) == {}


def test_closed_forms_are_drawn_from_exactly():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 3, 3))
    law = Components(np.array([0.3, 0.7]), 3 * rng.normal(size=(2, 3)), roots @ roots.swapaxes(1, 2))
    prior = DenoiserPrior.of(law, (3,), Schedule(), Scaling(1.0, 2.0), {})
    x = LearnedModel({"s": prior}).sample("s", 20_000, jax.random.key(0))
    mean, C = law.moments()
    error = 5 * np.sqrt(np.outer(np.diag(C), np.diag(C)) / len(x))
    assert (np.abs(x.mean(0) - mean) < 5 * np.sqrt(np.diag(C) / len(x))).all()
    assert (np.abs(np.cov(x.T) - C) < 2 * error).all()
