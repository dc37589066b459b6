"""What can be learned of an instrument: the table of the method, and what mends what cannot."""

from functools import cache

import numpy as np
import pytest

from dichroic import Dense, PerSample, Problem, Scale, Source, Unknown, View
from dichroic.design import check_instrument
from dichroic.operators import GaussianBlur

D, N = 5, 192
DESIGNS = {
    "contrastive": [(1.0, 0.0), (1.0, 0.5)],
    "mixed": [(1.0, 0.5), (0.5, 1.0)],
    "three": [(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)],
}
# operators, design; conditions with all known, noise unknown, one amplitude unknown, both; whole numbers are directions
# that cannot be learned
TABLE = [
    ("identity", "contrastive", 2.41, 2, 1, 3),
    ("identity", "mixed", 1.67, 2, 1, 3),
    ("identity", "three", 2.38, 2, 3.1, 2),
    ("masks", "contrastive", 2.6, 2, 1, 3),
    ("masks", "mixed", 1.67, 2, 1, 3),
    ("masks", "three", 2.5, 2, 3.2, 2),
    ("rows", "contrastive", 3.6, 6.0, 1, 1),
    ("rows", "mixed", 2.5, 4.8, 1, 1),
    ("rows", "three", 3.5, 6.0, 3.8, 6.5),
]


@cache
def problem(kind, design, noise=False, amplitude=False, clean=()):
    rng = np.random.default_rng(0)
    views = {}
    for v, amplitudes in enumerate(DESIGNS[design]):
        seen = rng.random((N, D)) < (0.6 if kind == "masks" else 1.0)
        seen[~seen.any(1), 0] = True
        rows = rng.normal(size=(N, 3, D))
        rows = PerSample(Dense(rows / np.linalg.norm(rows, axis=2, keepdims=True)))
        mixing = {}
        for s, a in zip("xz", amplitudes, strict=True):
            scale = Scale(Unknown(a) if amplitude and v == 1 and s == "z" else a, (D,))
            if a:
                mixing[s] = rows @ scale if kind == "rows" else scale
        y = rng.normal(size=(N, 3 if kind == "rows" else D))
        views[f"v{v}"] = View(y, mixing, Unknown(1.0) if noise else 1.0, None if kind == "rows" else seen)
    views |= {f"clean {s}": View(rng.normal(size=(8, D)), {s: 1.0}, 1e-3) for s in clean}
    return Problem({"x": Source((D,)), "z": Source((D,))}, views)


def summary(kind, design, noise, amplitude):
    report = check_instrument(problem(kind, design, noise, amplitude))
    return report.alone, (report.null or report.condition)


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_the_table_of_the_method(row):
    kind, design, alone, *expected = row
    for (noise, amplitude), value in zip([(True, False), (False, True), (True, True)], expected, strict=True):
        known, found = summary(kind, design, noise, amplitude)
        assert known == pytest.approx(alone, rel=0.08)
        if isinstance(value, int):
            assert found == value and isinstance(found, int)
        else:
            assert found == pytest.approx(value, rel=0.15)


def test_nothing_unknown_is_not_judged():
    assert check_instrument(problem("identity", "mixed")) is None


@pytest.mark.parametrize(
    ("kind", "design", "noise", "amplitude", "said", "mended"),
    [
        ("identity", "contrastive", False, True, "examples of 'z' as", {"clean": ("z",)}),
        ("identity", "mixed", False, True, "another known ratio", {"design": "three"}),
        ("masks", "three", True, False, "differently from one observation to the next", {"kind": "rows"}),
        ("identity", "contrastive", True, True, "examples of 'x' and 'z'", {"clean": ("x", "z")}),
        ("rows", "contrastive", True, True, "a few clean examples", {"clean": ("z",)}),
    ],
)
def test_what_is_lost_is_refused_with_what_mends_it(kind, design, noise, amplitude, said, mended):
    """And it does: the same problem with the remedy is let pass."""
    case = {"kind": kind, "design": design, "noise": noise, "amplitude": amplitude}
    red = [f for f in check_instrument(problem(**case)).findings() if f.level == "red"]
    assert red and all(said in f.text and f.code == "DC121" for f in red)
    assert not check_instrument(problem(**{**case, **mended})).null


def test_a_known_prior_or_a_stated_uncertainty_is_enough():
    lost = problem("identity", "contrastive", amplitude=True)
    assert check_instrument(lost).null and not check_instrument(lost, known=["z"]).null
    view = lost.views["v1"]
    stated = View(view.y, {"x": 1.0, "z": Unknown(0.5, 0.1)}, 1.0)
    assert check_instrument(Problem(lost.sources, {**lost.views, "v1": stated})) is None


def test_a_width_and_a_matrix_need_a_view_that_tells_them():
    """Alone, other covariances make up for any blur and for any matrix; beside the source as it is, none can."""
    rng = np.random.default_rng(0)
    for unknown in (GaussianBlur(Unknown(1.2), (D,)), Dense(Unknown(rng.normal(size=(D, D))))):
        views = {"v": View(rng.normal(size=(N, D)), {"x": unknown}, 1.0)}
        (red,) = check_instrument(Problem({"x": Source((D,))}, views)).findings()
        assert (red.level, red.code) == ("red", "DC121")
        # examples tell the covariance of a source, which leaves a matrix its rotations
        assert ("clean examples of 'x'" in red.text) == isinstance(unknown, GaussianBlur)
        assert "say how far it may be off" in red.text
        views["sharp"] = View(rng.normal(size=(N, D)), {"x": 1.0}, 1.0)
        # signs of a matrix are no direction: of covariances this one is determined
        found = check_instrument(Problem({"x": Source((D,))}, views))
        assert found.null == (0 if isinstance(unknown, GaussianBlur) else D * (D - 1) // 2)


def test_a_large_problem_is_judged_by_some_of_its_entries():
    """As the small one of the same design."""
    rng = np.random.default_rng(0)
    sources = {"x": Source((12, 12, 1)), "z": Source((12, 12, 1))}

    def judged(ratios, noise):
        views = {
            f"v{v}": View(rng.normal(size=(8, 12, 12, 1)), {"x": a, "z": b}, Unknown(1.0) if noise and v == 1 else 1.0)
            for v, (a, b) in enumerate(ratios)
        }
        return check_instrument(Problem(sources, views))

    assert judged([(1.0, Unknown(0.5)), (0.5, 1.0)], False).null == 1
    assert judged([(1.0, Unknown(0.5)), (0.5, 1.0), (1.0, 1.0)], False).condition < 6
    assert judged([(1.0, 0.5), (0.5, 1.0)], True).null == 1
