"""Which lap is the best one, and when a stage ends."""

import numpy as np
import pytest

from dichroic.em import EMState
from dichroic.em.score import exhausted, judge
from dichroic.settings import FitConfig

# what makes one held-out observation harder than another is the same at every lap, and much larger than the progress
HARD = np.random.default_rng(0).normal(size=100)
NOISE = 0.1 * np.where(np.arange(100) % 2, 1.0, -1.0)  # its standard error is 0.01


def judged(levels):
    best = {}
    for lap, level in enumerate(levels):
        best = judge(best, HARD + level + (NOISE if lap % 2 else 0), lap)
    return best


@pytest.mark.parametrize(
    ("levels", "lap"),
    [
        ([1.0], 0),
        ([1.0, 0.5, 0.2], 2),
        ([1.0, 0.2, 0.5, 0.6], 1),  # much worse later
        ([1.0, 0.2, 0.205], 1),  # worse, though within a standard error of the lowest
        ([1.0, 0.2, 0.205, 0.3], 1),
        ([1.0, 0.2, 0.205, 0.199], 3),
    ],
)
def test_the_best_lap(levels, lap):
    assert judged(levels)["lap"] == lap


@pytest.mark.parametrize(
    ("levels", "lap"),
    [
        ([1.0], 0),
        ([1.0, 1.02, 1.03], 1),  # hardly worse: it may be proven better all the same
        ([1.0, 1.5, 1.5, 1.02], 3),
        ([1.0, 1.5], 0),  # beyond hope
        ([1.0, 0.5, 0.2, 0.3], 2),
    ],
)
def test_what_is_tried(levels, lap):
    assert judged(levels)["tried"] == lap


@pytest.mark.parametrize(
    ("levels", "lap"), [([1.0, 0.5, 0.6, 0.7], 1), ([1.0, 0.9, 0.8, 0.7], 3), ([1.0, 1.2, 1.1], 0)]
)
def test_improvements(levels, lap):
    found = judged(levels)
    assert found["lap"] == lap
    assert found["gain"] == pytest.approx(levels[0] - levels[-1], abs=1e-12)
    assert found["gain_error"] == pytest.approx(0.01 if len(levels) % 2 == 0 else 0, abs=1e-12)


def test_a_worse_lap_is_no_tie():
    """Seen with 50 held-out observations: 0.7578, then 0.7829 with a standard error of 0.043, and the second used."""
    rng = np.random.default_rng(0)
    change = rng.normal(size=50)
    change = (change - change.mean()) / change.std()
    first = 0.7578 + HARD[:50] - HARD[:50].mean()
    second = first + 0.0251 + 0.043 * np.sqrt(50) * change
    found = judge(judge({}, first, 0), second, 1)
    assert found["lap"] == 0
    assert (found["last"], found["error"]) == (pytest.approx(0.7829), pytest.approx(0.043))
    assert (found["gain"], found["gain_error"]) == (pytest.approx(-0.0251), pytest.approx(0.043))


@pytest.mark.parametrize("scores", [[np.nan, 0.5, 0.4], [1.0, np.nan, 0.4], [0.4, np.nan, 0.9]])
def test_scores_that_are_not_finite_count_for_nothing(scores):
    best = {}
    for lap, score in enumerate(scores):
        best = judge(best, np.full(10, score), lap)
    assert best["lap"] == int(np.nanargmin(scores))


@pytest.mark.parametrize(("lap", "patience", "ends"), [(5, 3, False), (6, 3, True), (60, 0, False)])
def test_patience(lap, patience, ends):
    state = EMState(0, lap, {}, {}, {}, best={"lap": 3})
    assert exhausted(state, FitConfig(patience=patience)) == ends


@pytest.mark.parametrize(
    ("levels", "ends"),
    [
        ([0.2, 0.5, 0.6, 0.5], True),  # nothing to be hoped for from more of these
        ([0.2, 0.5, 0.6], False),
        ([0.2, 0.5, 0.2, 0.5, 0.6], False),  # not in a row
        ([0.2, 0.21, 0.2, 0.21], False),  # within the noise
    ],
)
def test_far_worse_laps_end_a_stage(levels, ends):
    state = EMState(0, len(levels) - 1, {}, {}, {}, best=judged(levels))
    assert exhausted(state, FitConfig(patience=50)) == ends


def test_without_scores_a_stage_takes_all_its_laps():
    assert not exhausted(EMState(0, 100, {}, {}, {}), FitConfig(patience=1))
