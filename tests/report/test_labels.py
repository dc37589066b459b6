"""Reports in the words of the field: identifiers, seconds and Hz, genes, images the right way up and not black."""

import re
from dataclasses import replace

import numpy as np

from dichroic.formats import Axis, Labels
from dichroic.problem import Problem
from dichroic.report import report as write_report
from dichroic.report.material import Separated
from dichroic.report.pictures import finite_range, softening, to_rgba
from dichroic.report.vectors import _top, along_axis, largest_entries
from report_cases import make_problem


def labelled(shape, axis=None, **said):
    problem = make_problem(shape)
    labels = Labels(ids=np.asarray([f"NGC{i}" for i in range(12)]), axes=() if axis is None else (axis,), **said)
    return Problem(problem.sources, {v: replace(view, labels=labels) for v, view in problem.views.items()}, "Named")


def page(make_run, tmp_path, problem, **options):
    path = write_report(make_run(problem, **options), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert "Not shown" not in text
    return text


def test_series_have_seconds_and_hertz(make_run, tmp_path):
    problem = labelled((40,), Axis("time", step=1 / 8000, unit="s"))
    text = page(make_run, tmp_path, problem, diverged=lambda n, k: np.arange(n) == 0)
    for words in ("time [s]", "frequency [Hz]", "<h4>NGC0</h4><p>No usable draw", "<h4>NGC11</h4>"):
        assert words in text
    assert 'class="up"' not in text


def test_the_largest_genes_are_named():
    axis = Axis("gene", np.asarray(["A", "B", "C", "D", "E"]))
    assert _top(axis, np.asarray([0.1, -3.0, np.nan, 2.0, 0.0]), 2) == [(2.0, -3.0, "B"), (4.0, 2.0, "D")]
    assert _top(Axis("time", step=0.5), np.arange(5.0)) == []
    places, name = along_axis(axis, 5)
    assert name == "gene" and places.tolist() == [1, 2, 3, 4, 5]


def test_genes_have_a_table_of_the_largest():
    names = np.asarray([f"GENE{i}" for i in range(12)])
    star = np.zeros((5, 2, 12))
    star[:, :, [3, 7]] = [2.0, -5.0]
    none = np.zeros((5, 2), bool)
    separated = Separated("mix", {"star": star}, none, None, None, labels=Labels(axes=(Axis("gene", names),)))
    body = largest_entries(separated, ["star"]).body
    assert "<th>gene of star</th>" in body and body.index("GENE7") < body.index("GENE3") < body.index("GENE0")
    assert largest_entries(Separated("mix", {"star": star}, none, None, None), ["star"]) is None


def test_images_of_fits_files_stand_upright(make_run, tmp_path):
    text = page(make_run, tmp_path, labelled((6, 6), kind="fits"), diverged=lambda n, k: np.arange(n) == 0)
    assert '<main class="up">' in text and "<small>NGC11</small>" in text and "no usable draw" in text
    # the reader chooses the stretch
    assert '<input type="radio" name="stretch" id="stretch-ranks">' in text and "<script" not in text
    used = set(re.findall(r'class="px (k\w+)"', text))
    assert used and all(f'id="{key}-ranks"' in text and f".{key}{{filter:url(#{key}-ranks)}}" in text for key in used)
    assert 'data-column="st. dev."' in text and "Power of residuals" not in text  # of so small images


def test_few_bright_values_leave_the_rest_visible():
    x = np.random.default_rng(0).normal(size=(64, 64))
    flat = finite_range(x)
    assert softening(x, limits=flat) == 0
    x[30:34, 30:36] = 1e4
    limits = finite_range(x)
    soft = softening(x, limits=limits)
    assert 2.5 < soft < 3.5
    dark, shown = (to_rgba(x, limits, soft=s)[..., 0] for s in (0.0, soft))
    assert np.median(dark) == 0 < 5 < np.median(shown) < 128
    order = np.argsort(x, axis=None)[::97]
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()
