import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from dichroic.em import EMState
from dichroic.operators import Scale
from dichroic.problem import Problem, Source, View
from dichroic.report import report as write_report
from dichroic.report.material import gather
from dichroic.report.verdict import judge_run
from dichroic.run import Run
from report_cases import DRAWS, make_gaussian, make_problem, make_records, make_two_shapes

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Fails on tags that do not match, and collects what they refer to."""

    def __init__(self):
        super().__init__()
        self.stack, self.references, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"


def report(run, tmp_path):
    """The page, checked for what every page must fulfil."""
    path = write_report(run, tmp_path / "pages" / "report.html")
    page = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    assert not checker.stack
    assert all(r.startswith(("#", "data:image/png")) for r in checker.references)
    assert "http://" not in page and "https://" not in page
    assert "script" not in checker.tags
    assert len(page) < 5e6
    return page


SHAPES = [(6, 6, 3)]
SHAPES += [
    pytest.param(shape, marks=pytest.mark.slow) for shape in ((1,), (3,), (40,), (6, 6, 2), (2, 2, 3, 2), (100, 70))
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(make_run, tmp_path, shape):
    page = report(make_run(make_problem(shape, missing=shape != (1,))), tmp_path)
    assert "Not shown" not in page
    assert "A &lt;test&gt; &amp; more" in page
    for word in (
        "Held-out prediction",
        "Training loss",
        "Agreement with the truth",
        "Gaussian stage",
        "Worst observations",
        "Data told from simulations",
        "not told apart",
    ):
        assert word in page
    assert "Learned prior" in page or shape == (1,)


@pytest.mark.slow
def test_sources_of_two_shapes(make_run, tmp_path):
    page = report(make_run(make_two_shapes()), tmp_path)
    assert "Not shown" not in page
    assert 'class="pictures"' in page and 'class="spark"' in page and "Source “vector”" in page


def test_without_truth(make_run, tmp_path):
    page = report(make_run(make_problem((6, 6), truth=False)), tmp_path)
    assert "Not shown" not in page
    assert "<th>truth</th>" not in page and "Agreement with the truth" not in page


def test_nothing_is_fine_that_is_told_apart(make_run):
    problem = make_problem((5, 5))
    for area, level in ((0.52, "green"), (0.62, "amber")):
        records = make_records(problem)
        for record in records:
            record["law"] = {"both": [area, 0.02]}
        material = gather(make_run(problem, records=records, separated=False))
        reasons = [reason for reason in judge_run(material, {}, {}).reasons if "tells held-out" in reason]
        assert bool(reasons) == (level == "amber")


def test_nothing_is_fine_whose_draws_are_too_narrow(make_run):
    problem = make_problem((5, 5))
    for kept in ({}, {"widths": {"mix": {"star": [1.3, 0.45, 0.86]}}}):
        records = [{**record, **kept} for record in make_records(problem)]
        verdict = judge_run(gather(make_run(problem, records=records, separated=False)), {}, {})
        said = [reason for reason in verdict.reasons if "errors are 1.30 times the posterior deviation" in reason]
        assert len(said) == len(kept) and (not kept or verdict.level == "amber")


def test_every_source_says_which_prior_is_used(make_run, tmp_path):
    problem = make_problem((5, 5))
    records = make_records(problem)
    views = {"mix": [0.6, 0.01, 0.02, 0.1, 0.01]}
    proof = {"star": {"used": True, "views": {"mix": [1.2, 0.07, 0.02, 0.1, 0.01]}}}
    records[-1] |= {"tried": 3, "proof": {**proof, "sky": {"used": False, "views": views}}}
    run = make_run(problem, records=records, separated=False)
    verdict = judge_run(gather(run), {}, {})
    assert "sky: closed form (lap 3 is not proven better, by standard errors: +0.5 in 'mix')" in verdict.sentence
    assert "star: lap 3 (proven better, by standard errors: +3.5 in 'mix')" in verdict.sentence
    assert {s: c.prior for s, c in run.choices.items()} == {"sky": "closed form", "star": "lap 3"}
    page = report(run, tmp_path)
    assert "Not shown" not in page and '<td class="num">+3.5</td><td class="num">1.2</td><td>proven better' in page


@pytest.mark.slow
def test_without_held_out_set(make_run, tmp_path):
    problem = make_problem((4,))
    run = make_run(problem, held_out=False, separated=False, records=make_records(problem, score=False))
    draws = {
        v: {**{s: np.asarray(x) for s, x in view.truth.items()}, "usable": np.ones(len(view), bool)}
        for v, view in problem.views.items()
    }
    run.folder.save_checkpoint(EMState(0, 3, dict(run.priors), draws, {}, records=run.records))
    page = report(run, tmp_path)
    assert "Not shown" not in page
    assert "There is no held-out set" in page and "no held-out score to choose by" in page
    assert "the observations that the fit learned from" in page


@pytest.mark.parametrize("gaussian", [True, False])
def test_unfinished(make_run, tmp_path, gaussian):
    run = make_run(make_problem((5, 5)), finished=False, gaussian=gaussian, records=[], separated=False)
    page = report(run, tmp_path)
    assert "Not shown" not in page
    assert "dichroic resume run" in page and "Not finished" in page
    assert ("Learned prior" in page) == gaussian


def test_nan_everywhere(make_run, tmp_path):
    problem = make_problem((6, 6))
    records = make_records(problem)
    for record in records[1:]:
        record.update(score=float("nan"), score_error=None, loss=dict.fromkeys(problem.sources, float("nan")))
        for view in record["views"].values():
            view.update(chi_square=float("nan"), diverged=1.0, solver_stopped=None, held_out={})
        record["seconds"]["m_step"] = None
    page = report(make_run(problem, records=records, diverged=lambda n, k: np.ones(n, bool)), tmp_path)
    assert "Not shown" not in page
    assert "no finite draw" in page and "100.00% of the draws diverged" in page


def test_some_diverged(make_run, tmp_path):
    page = report(make_run(make_problem((5,)), diverged=lambda n, k: np.arange(n) % 3 == 0), tmp_path)
    assert "Not shown" not in page and "33.3% of the draws diverged" in page


@pytest.mark.slow
def test_bare_records(make_run, tmp_path):
    """Records of other versions may lack anything."""
    page = report(make_run(make_problem((3,)), records=[{}, {"lap": 1, "stage": "joint", "views": {}}]), tmp_path)
    assert "Not shown" not in page


def test_without_the_observations(make_run, tmp_path):
    run = make_run(make_problem((6, 6)))
    page = report(Run(run.path), tmp_path)
    assert "Not shown" not in page
    assert "The observations are not at hand" in page and ">draw 1<" in page and ">residual<" not in page


@pytest.mark.slow
def test_other_held_out_set(make_run, tmp_path):
    run = make_run(make_problem((6, 6)))
    other = make_problem((6, 6), n=5)
    page = report(Run(run.path, problem=other, held_out=other), tmp_path)
    assert "they are not shown" in page


def test_a_damaged_part_costs_only_itself(make_run, tmp_path):
    run = make_run(make_problem((6, 6)))
    for file in (run.path / "priors").glob("*.safetensors"):
        file.write_bytes(b"nonsense")
    (run.path / "gaussian.safetensors").write_bytes(b"nonsense")
    page = report(run, tmp_path)
    assert "Not shown: the learned priors" in page and "Not shown: the Gaussian stage" in page
    assert str(tmp_path) not in page
    assert "Posterior draws" in page and "Held-out prediction" in page


def test_names_are_escaped(make_run, tmp_path):
    page = report(make_run(make_problem((4,), names=("<b>$x_1$", 'a"&$x'), unit="<i>")), tmp_path)
    assert "Not shown" not in page
    assert "<b>$" not in page and "&lt;b&gt;$x_1$" in page and "<i>" not in page


@pytest.mark.slow
def test_complex_observations(make_run, tmp_path):
    problem = make_problem((6, 6), truth=False)
    views = {
        v: View(x.y + 0.1j, {s: Scale(1 + 0j, (6, 6)) @ a for s, a in x.mixing.items()}, 0.1)
        for v, x in problem.views.items()
    }
    page = report(make_run(Problem(problem.sources, views)), tmp_path)
    assert "Not shown" not in page
    assert "magnitudes of complex values" in page and "for real and imaginary part each" in page


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(6, 6), (9,)])
def test_complex_sources_are_shown_by_their_magnitudes(make_run, tmp_path, shape):
    plain = make_problem(shape)
    turn = np.exp(0.7j)
    sources = {s: Source(shape, x.unit, complex) for s, x in plain.sources.items()}
    views = {
        v: View(
            turn * x.y,
            {"sky": 1.0, "star": 0.5} if v == "mix" else {"sky": 1.0},
            0.1,
            truth={s: turn * t for s, t in x.truth.items()},
        )
        for v, x in plain.views.items()
    }
    run = make_run(Problem(sources, views))
    page = report(run, tmp_path)
    assert "Not shown" not in page and ("draw 1" in page or len(shape) == 1)
    material = gather(run)
    shown = material.separated["mix"].truth("sky")
    np.testing.assert_allclose(shown, np.abs(plain.views["mix"].truth["sky"]), rtol=1e-5)
    assert material.separated["mix"].draws("sky", 3).shape == (DRAWS, *shape)
    assert run.sample("sky", 2).dtype == np.complex64 and run.sample("sky", 2).shape == (2, *shape)


@pytest.mark.slow
def test_several_stages(make_run, tmp_path):
    problem = make_problem((3,))
    records = make_records(problem) + [{**r, "stage": "second"} for r in make_records(problem)]
    assert ">second<" in report(make_run(problem, records=records), tmp_path)


def test_a_run_writes_its_own_report(make_run):
    run = make_run(make_problem((2,)))
    path = write_report(run)
    assert path == run.path / "report.html" and path.is_file() and not list(run.path.glob(".*.tmp"))


@pytest.mark.slow
def test_plotting_is_imported_late():
    code = (
        "import sys, dichroic, dichroic.report; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'jinja2', 'scipy.stats')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gaussian_draws_have_their_covariance():
    from dichroic.report.prior_figures import _gaussian

    fit = make_gaussian(make_problem((3,)))
    x = _gaussian(fit, "sky", (3,), 40_000)
    np.testing.assert_allclose(np.cov(x.T), np.diag([1.0, 0.5, 0.5]), atol=0.03)
