"""Designs without matrices: the ends of the spectrum by iterations, against dense decompositions."""

import numpy as np
import pytest

from design_cases import problem_of
from dichroic import Convolve, Downsample, Mask, PerSample, Source, View
from dichroic.design import report as design
from dichroic.design.report import check_design
from dichroic.problem import Problem

S = (12, 12, 1)
RNG = np.random.default_rng(11)
KERNEL = np.outer([0.1, 0.2, 0.4, 0.2, 0.1], [0.1, 0.2, 0.4, 0.2, 0.1])
SEEN = RNG.random((8, *S)) < 0.5
SEEN[:, 3:5, 7] = False


def both(problem, monkeypatch):
    """The spectrum of the means, dense and by iterations."""
    with monkeypatch.context() as patch:
        patch.setattr(design, "DENSE", 0)
        patch.setattr(design, "_scales", lambda powers: dict.fromkeys(problem.sources, 1.0))  # estimated otherwise
        patch.setattr("dichroic.design.report.find_modes", lambda *_: None)
        iterative = check_design(problem, contraction=False)
        patch.setattr(design, "DENSE", 10_000)
        dense = check_design(problem, contraction=False)
    assert (iterative.means.route, dense.means.route) == ("iterative", "dense")
    return iterative, dense


def parts(missing):
    return {"observed": RNG.random((8, *S)) > missing}


BLUR = Convolve(KERNEL, S)
BLURS = PerSample(Convolve(RNG.random((8, 3, 3)), S)) @ PerSample(Mask(RNG.random((8, *S))))
DESIGNS = {
    "blur and missing": ({"a": {"x": 1.0}, "b": {"x": BLUR, "z": 0.5}}, parts(0.3)),
    "blur of both": ({"a": {"x": 1.0}, "b": {"x": BLUR, "z": BLUR}}, {}),
    "nearly alike": ({"a": {"x": 1.0, "z": 0.9}, "b": {"x": 0.9, "z": 1.0}}, parts(0.3)),
    "blur per sample": ({"a": {"x": BLURS}, "b": {"x": 1.0, "z": 1.0}}, {}),
}


@pytest.mark.parametrize(
    "name", [name if name == "nearly alike" else pytest.param(name, marks=pytest.mark.slow) for name in DESIGNS]
)
def test_conditions(name, monkeypatch):
    views, options = DESIGNS[name]
    iterative, dense = both(problem_of(S, views, n=8, **options), monkeypatch)
    assert dense.means.null == iterative.means.null == 0
    assert iterative.means.largest == pytest.approx(dense.means.largest, rel=1e-2)
    assert iterative.means.condition == pytest.approx(dense.means.condition, rel=2e-2)
    assert iterative.means.condition <= dense.means.condition * 1.01  # a bound


def test_what_no_observation_contains(monkeypatch):
    views = {"a": {"x": Convolve(KERNEL, S) @ Mask(SEEN.any(0).astype(float))}, "b": {"z": 1.0}}
    iterative, dense = both(problem_of(S, views, n=8, observed=SEEN), monkeypatch)
    for s in ("x", "z"):
        np.testing.assert_array_equal(iterative.means.dead[s], dense.means.dead[s])
        assert iterative.means.dead[s].sum() == iterative.means.unseen[s] >= 2
    assert [f.code for f in iterative.findings() if f.level == "red"][:2] == ["DC111", "DC111"]


def test_trade_offs(monkeypatch):
    """One view of a sum through one blur: any pattern can be exchanged."""
    views = {"a": {"x": Convolve(KERNEL, S), "z": Convolve(KERNEL, S)}}
    iterative, dense = both(problem_of(S, views, n=8), monkeypatch)
    assert dense.means.trade_offs == 144
    assert 1 <= iterative.means.trade_offs <= 144
    assert not iterative.means.exact
    direction = next(d for d in iterative.means.directions if d.information == 0)
    assert direction.kind == "trade-off"
    np.testing.assert_allclose(direction.pattern["x"], -direction.pattern["z"], atol=1e-4)
    (finding, *_) = iterative.findings()
    assert (finding.level, finding.code) == ("red", "DC113")


@pytest.mark.slow
def test_patterns_finer_than_the_pixels(monkeypatch):
    views = {"a": {"x": Downsample(2, S), "z": Downsample(2, S) @ PerSample(Mask(RNG.random((8, *S))))}}
    iterative, dense = both(problem_of(S, views, n=8, event=(6, 6, 1)), monkeypatch)
    assert dense.means.unseen["x"] == 108
    assert iterative.means.null > 0
    assert iterative.means.unseen["x"] > 0


@pytest.mark.slow
def test_sources_of_different_shapes(monkeypatch):
    y = np.ones((8, 6, 6, 1))
    views = {"a": View(y, {"x": Downsample(2, S), "z": 1.0}, 0.1), "b": View(y, {"z": 1.0}, 0.1)}
    views["c"] = View(np.ones((8, *S)), {"x": 1.0}, 0.1)
    iterative, dense = both(Problem({"x": Source(S), "z": Source((6, 6, 1))}, views), monkeypatch)
    assert iterative.means.condition == pytest.approx(dense.means.condition, rel=5e-2)
