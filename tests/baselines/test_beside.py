"""What one would have without a fit, beside its result: fine is never said of a result that is beaten."""

from pathlib import Path

import numpy as np
import pytest

from dichroic import FitConfig, Problem, Source, View
from dichroic.baselines import beside
from dichroic.closed import gaussian_em
from dichroic.diagnose import judge
from dichroic.diffusion import Cost
from dichroic.operators import Dense
from dichroic.posterior import Draws
from dichroic.run import Run, Separation
from dichroic.run.separation_writer import SeparationWriter

D = 4


def make(n: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    sky = 2 + 0.2 * rng.normal(size=(2, n, D))
    star = rng.normal(size=(n, D))
    A = Dense(np.tril(np.ones((D, D))))
    y = sky[1] + star @ A.matrix.T + 0.1 * rng.normal(size=(n, D))
    views = {
        "empty": View(sky[0], {"sky": 1.0}, 0.1),
        "both": View(y, {"sky": 1.0, "star": A}, 0.1, truth={"star": star}),
    }
    return Problem({"sky": Source((D,)), "star": Source((D,))}, views)


class FinishedRun(Run):
    """As much of a run as there is to compare, its means being `error` away from the truth."""

    problem = held_out = gaussian = separated = None  # pyright: ignore
    __repr__ = object.__repr__

    def __init__(self, folder: Path, error: float):
        self.problem, self.held_out, self.config = make(300, 0), make(100, 1), FitConfig()
        self.gaussian = gaussian_em(self.problem)
        self.separated = folder / "separated.zarr"
        views, rng = self.held_out.views, np.random.default_rng(2)
        shapes = {v: (len(view), {s: (D,) for s in view.mixing}) for v, view in views.items()}
        with SeparationWriter(self.separated, shapes, 1) as writer:
            for v, view in views.items():
                zero = np.zeros((len(view), D))
                means = {s: view.truth.get(s, zero) + error * rng.normal(size=zero.shape) for s in view.mixing}
                none = np.zeros(len(view))
                writer.write(v, 0, Draws(means, none, none, none.astype(int), none > 0, Cost()))
                writer.average(v, means, {s: view.seen(s, x) for s, x in means.items()}, {})


@pytest.mark.parametrize(("error", "beaten"), [(0.01, False), (1.0, True)])
def test_a_simple_answer_that_is_better_is_said_to_be(tmp_path, error, beaten):
    run = FinishedRun(tmp_path, error)
    found = beside(run)
    assert list(found.answers) == ["mean subtraction", "the Gaussian stage's mean"]
    assert {(c.title, c.view, c.source, c.seen) for c in found.comparisons} == {
        (title, "both", "star", seen) for title in found.answers for seen in (False, True)
    }
    truth = run.held_out.views["both"].truth["star"]
    ours = 10 * np.log10(
        np.ptp(truth) ** 2 / ((Separation.open(run.separated).mean("both", "star") - truth) ** 2).mean()
    )
    assert all(c.beaten == beaten and (c.seen or c.ours == pytest.approx(ours)) for c in found.comparisons)
    verdict = judge({}).doubted(found.reasons)
    assert (verdict.level, len(verdict.reasons)) == (("amber", 1) if beaten else ("green", 0))
    if beaten:
        assert "nearer to the truth than these means" in verdict.reasons[0] and "“star”" in verdict.reasons[0]


def test_without_a_separation_there_is_nothing_to_compare(tmp_path):
    run = FinishedRun(tmp_path, 1.0)
    run.separated = tmp_path / "none"
    assert beside(run).comparisons == [] and beside(run).reasons == []
