"""The section on the design: from the run folder, or from the observations."""

import numpy as np
import pytest

from dichroic import Downsample, Mask, Problem, Source, View
from dichroic.design import check_design
from dichroic.report import report
from dichroic.report.design import null_figure
from report_cases import make_problem

SHAPE = (6, 8)


def page_of(run, tmp_path):
    return report(run, tmp_path / "report.html").read_text(encoding="utf-8")


def unidentified():
    """One dead pixel, fine detail of one source, and a trade-off in a part of the picture."""
    weight, part = np.ones(SHAPE), np.zeros(SHAPE)
    weight[2, 3], part[:3] = 0, 1
    y = np.random.default_rng(0).normal(size=(9, *SHAPE))
    views = {
        "both": View(y, {"sky": Mask(weight), "star": Mask(weight)}, 0.1),
        "part": View(y, {"sky": Mask(part * weight)}, 0.1),
        "coarse": View(y[:, ::2, ::2], {"dust": Downsample(2, SHAPE)}, 0.1),
    }
    return Problem({s: Source(SHAPE) for s in ("sky", "star", "dust")}, views)


@pytest.mark.slow
def test_from_the_observations(make_run, tmp_path):
    page = page_of(make_run(make_problem((6, 6))), tmp_path)
    assert "Not shown" not in page
    assert "Can this design be learned?" in page and "The sources can be told apart" in page
    assert "What would help" not in page
    assert "[DC114]" in page


def test_from_the_run_folder(make_run, tmp_path):
    problem = make_problem((6, 6))
    run = make_run(problem)
    run.folder.save_design(check_design(unidentified()))
    page = page_of(run, tmp_path)
    assert "Not everything can be learned from this design" in page
    assert "What would help" in page and "infinite" in page
    for code in ("DC111", "DC112", "DC113"):
        assert f"[{code}]" in page


def test_pictures_of_what_cannot_be_seen():
    report = check_design(unidentified())
    figure = null_figure(report)
    null = [d for d in report.means.directions if d.information == 0]
    assert {d.kind for d in null} == {"dead", "flat", "trade-off"}
    assert figure.body.count("<tr>") == 1 + len(report.means.directions)
    assert figure.body.count('class="px"') == 3 * len(report.means.directions)


def test_vectors_are_drawn_too():
    views = {"a": View(np.ones((9, 5)), {"x": 1.0, "z": 1.0}, 0.1)}
    figure = null_figure(check_design(Problem({"x": Source((5,)), "z": Source((5,))}, views)))
    assert figure.body.count('class="spark"') == 2 * 2


def test_it_is_kept_whole(make_run):
    run, report = make_run(make_problem((3,))), check_design(unidentified())
    run.folder.save_design(report)
    again = run.folder.design()
    assert again.summary() == report.summary()
    assert [f.text for f in again.findings()] == [f.text for f in report.findings()]
    for before, after in zip(report.means.directions, again.means.directions, strict=True):
        assert (before.kind, before.count, before.information) == (after.kind, after.count, after.information)
        for s, x in before.pattern.items():
            np.testing.assert_array_equal(after.pattern[s], x)
    for s, dead in report.means.dead.items():
        np.testing.assert_array_equal(again.means.dead[s], dead)
    assert not list(run.path.glob(".*tmp*"))
