"""The time left of a fit, from the laps it has made: within a factor of two from a fifth on."""

import pytest

from dichroic.em import Stage
from dichroic.run.pace import Pace
from run_cases import tiny_config

STAGE = Stage("joint", ("a", "b"), ("v",))


def simulated(laps, cold_laps, draws, train, draw, held, compiling):
    """The seconds of a fit, and the share that is said to be done after every quarter of a lap."""
    config = tiny_config(
        laps=laps, draws=draws, sampling={"kind": "annealed", "steps": 24, "warm_steps": 8, "cold_laps": cold_laps}
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
                        pace.done(records, 0, lap, parts | dict.fromkeys(kinds, dict.fromkeys(over, share))),
                    )
                )
            now += seconds[phase]
        records.append({"stage": "joint", "lap": lap, "seconds": seconds})
        said.append((now, pace.done(records, 0, lap + 1, {})))
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
    for now, share in said:
        assert 0 <= share <= 1
        if 0.2 * whole < now:
            left = now * (1 - share) / share  # as the bar reckons
            assert whole - now < 2 * left + 1e-9 and left < 2 * (whole - now) + 1e-9, (now / whole, share)


def test_nothing_is_said_before_there_is_a_lap():
    assert Pace(tiny_config(), [STAGE], held_out=True).done([], 0, 0, {"draw": {"v": 0.5}}) == 0.0
