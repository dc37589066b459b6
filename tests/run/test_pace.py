"""The time left of a fit: within a factor of two from a fifth on.

`timelines.json` has what fits of the demo, of cells, of speech and of digits told of themselves, beside other jobs:
when their laps ended and what they took, or when phases of their rounds began and ended; and when the fits were over.
"""

import json
from pathlib import Path

import pytest

from dichroic.em import Stage
from dichroic.run.pace import Pace
from dichroic.run.progress import Reckoning
from dichroic.run.rounds_pace import RoundsPace
from dichroic.settings import FitConfig
from run_cases import tiny_config

TIMELINES = json.loads((Path(__file__).parent / "timelines.json").read_text())

STAGE = Stage("joint", ("a", "b"), ("v",))


def simulated(laps, cold_laps, draws, train, draw, held, compiling):
    """The seconds of a fit, and what is said to be done and left after every quarter of a lap."""
    config = tiny_config(
        laps=laps,
        patience=0,
        draws=draws,
        sampling={"kind": "annealed", "steps": 24, "warm_steps": 8, "cold_laps": cold_laps},
    )
    pace, records, now, said = Pace(config, [STAGE], held_out=True), [], 0.0, []
    for lap in range(laps + 1):
        steps = 24 if lap <= cold_laps else 0.1 * 24 + 0.9 * 8
        seconds = {
            "m_step": (train + (compiling if lap == 1 else 0)) if lap else 0.0,
            "e_step": draw * steps / 24 + (compiling if lap < 2 else 0),
            "held_out": held * (2 + steps / 24) + (compiling if lap < 2 else 0),
        }
        for phase, kinds in (("m_step", ["train"]), ("e_step", ["draw"]), ("held_out", ["held-out", "predict"])):
            over = STAGE.learn if phase == "m_step" else STAGE.views
            parts = {k: dict.fromkeys(STAGE.learn, 1.0) for k in ("train",) if phase != "m_step" and lap}
            if phase == "held_out":
                parts["draw"] = {"v": 1.0}
            for share in (0.25, 0.5, 0.75):
                said.append(
                    (
                        now + share * seconds[phase],
                        *pace.done(records, 0, lap, parts | dict.fromkeys(kinds, dict.fromkeys(over, share))),
                    )
                )
            now += seconds[phase]
        records.append({"stage": "joint", "lap": lap, "seconds": seconds})
        said.append((now, *pace.done(records, 0, lap + 1, {})))
    return now + draws * held, said


@pytest.mark.parametrize(
    "case",
    [
        {"laps": 16, "cold_laps": 2, "draws": 8, "train": 10, "draw": 6, "held": 0.5, "compiling": 5},
        {"laps": 16, "cold_laps": 2, "draws": 8, "train": 1, "draw": 20, "held": 3, "compiling": 2},
        {"laps": 10, "cold_laps": 0, "draws": 64, "train": 2, "draw": 2, "held": 1, "compiling": 2},
        {"laps": 48, "cold_laps": 48, "draws": 8, "train": 10, "draw": 1, "held": 0.1, "compiling": 6},
    ],
    ids=["training", "draws", "separation", "compiling"],
)
def test_the_time_left_is_right_within_a_factor_of_two(case):
    whole, said = simulated(**case)
    for now, share, left in said:
        assert 0 <= share <= 1
        if 0.2 * whole < now:
            assert whole - now < 2 * left + 1e-9 and left < 2 * (whole - now) + 1e-9, (now / whole, share)


@pytest.mark.parametrize("name", TIMELINES["laps"])
def test_it_is_right_after_the_laps_of_real_fits(name, monkeypatch):
    told = TIMELINES["laps"][name]
    pace = Pace(FitConfig.model_validate(told["config"]), [STAGE], held_out=True, proofs=[told["proof"]])
    # the first lap began to train at an even pace after a while
    now = iter([0.0, told["compiled"] + 1.0, told["compiled"] + 2.0])
    with monkeypatch.context() as patched:
        patched.setattr("dichroic.run.pace.perf_counter", lambda: next(now))
        for part in ({}, {"a": 0.1}, {"a": 0.2}):
            pace.done(told["records"][:1], 0, 1, {"train": part} if part else {})
    for made, moment in enumerate(told["ends"], 1):
        true = told["end"] - moment
        _, left = pace.done(told["records"][:made], 0, made, {})
        if moment > 0.2 * told["end"] and true > 5:
            assert 0.5 < left / true < 2, (moment, left, true)


@pytest.mark.parametrize("name", TIMELINES["law"])
def test_it_is_right_within_rounds_of_real_fits(name):
    told, reckoning = TIMELINES["law"][name], Reckoning()
    pace, signs = RoundsPace(told["rounds"], told["separated"]), told["signs"]
    for (moment, *sign), (following, *_) in zip(signs, [*signs[1:], [told["end"]]], strict=True):
        reckoning.tell(moment, pace.done(*sign))
        for now in (moment, 0.1 * moment + 0.9 * following):
            if 0.2 * told["end"] < now < 0.98 * told["end"]:
                assert 0.5 < reckoning.left(now) / (told["end"] - now) < 2, (now, sign)


def test_laps_that_bring_nothing_end_a_stage():
    pace = Pace(tiny_config(laps=16, patience=6), [STAGE], held_out=False)

    def last(*best):
        return pace.last([{"lap": lap, "best_lap": b} for lap, b in enumerate(best)], len(best), 16)

    assert last(0, 1, 1, 1) == 7  # as many laps after the best one as patience has
    assert last() == last(0) == pytest.approx((6 * 16) ** 0.5)  # it ends after 6 or after 16
    assert last(0, 1, 2, 3) == pytest.approx(3 + (6 * 13) ** 0.5)


def test_nothing_is_said_before_there_is_a_lap():
    assert Pace(tiny_config(), [STAGE], held_out=True).done([], 0, 0, {"draw": {"v": 0.5}}) == (0.0, None)
