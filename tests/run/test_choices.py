"""Which prior of every source is used, read from records."""

import math

import pytest

from dichroic.diagnose import Nearer
from dichroic.run import Choice, choices

DESCRIBED = {"sources": {"sky": {}, "star": {}, "dust": {}}, "frozen": {"dust": "0"}}
LOSS = {"sky": 0.5, "star": 0.5}
BETTER, SAME, UNSURE, WORSE = (
    {"used": used, "views": {"both": [0.5 + gain / apart, gain, 0.01, apart, 0.01]}}
    for used, gain, apart in ((True, 0.05, 0.1), (False, 0.01, 0.02), (False, 0.02, 0.1), (False, -0.03, 0.1))
)


def record(stage="joint", lap=3, best=2, loss=LOSS, **more):
    return {"stage": stage, "lap": lap, "best_lap": best, "loss": loss, **more}


def chosen(*records):
    return choices([record(lap=0, loss={}), *records], DESCRIBED)


@pytest.mark.parametrize(
    ("proof", "best", "prior", "why"),
    [
        (BETTER, 2, "lap 2", "proven better, by standard errors: +5.0 in 'both'"),
        (SAME, 0, "closed form", "lap 2 is not told apart, by standard errors: +1.0 in 'both'"),
        (UNSURE, 0, "closed form", "lap 2 is not proven better, by standard errors: +2.0 in 'both'"),
        (WORSE, 0, "closed form", "lap 2 is worse, by standard errors: -3.0 in 'both'"),
    ],
)
def test_a_source_uses_what_is_proven(proof, best, prior, why):
    sentence = f"star: {prior} ({why})"
    found = chosen(record(best=best, tried=2, proof={"star": proof}))["star"]
    assert (found.prior, found.tried, found.used, found.sentence) == (prior, "lap 2", proof["used"], sentence)
    said = found.describe()
    assert said["reading"] in sentence and said["proof"]["both"]["place"] == proof["views"]["both"][0]


def test_every_source_has_its_own():
    found = chosen(record(best=2, tried=2, proof={"sky": SAME, "star": BETTER}))
    assert {s: c.prior for s, c in found.items()} == {"sky": "closed form", "star": "lap 2", "dust": "known"}
    assert found["dust"] == Choice("dust", "known") and found["dust"].sentence == "dust: known"


def test_where_nobody_asks_for_proof_the_best_prediction_is_used():
    assert chosen(record())["star"].sentence == "star: lap 2 (not asked for proof)"
    assert chosen(record(best=0))["star"].sentence == "star: closed form (no lap predicts better)"
    assert choices([], DESCRIBED)["star"].sentence == "star: closed form"


def test_a_later_stage_begins_with_what_the_one_before_proved():
    first = record("empty", 2, 2, {"sky": 0.5}, tried=2, proof={"sky": BETTER})
    then = record("both", 3, 0, tried=3, proof={"sky": UNSURE, "star": UNSURE})
    found = choices([first, then], DESCRIBED)
    assert (found["sky"].prior, found["sky"].tried) == ("lap 2 of stage 'empty'", "lap 3 of stage 'both'")
    assert found["star"].prior == "closed form"


@pytest.mark.parametrize(("best", "prior"), [(3, "round 3"), (0, "closed form")])
def test_rounds_of_the_law_of_the_mixtures(best, prior):
    of = [record("star", lap, best, {"star": 0.5}, power=1.0) for lap in range(4)]
    found = choices(of, DESCRIBED)
    assert (found["star"].prior, found["sky"].prior) == (prior, "closed form")


def test_records_without_how_far_priors_are_apart():
    proof = {"used": True, "views": {"both": [2.1, 0.08, 0.02], "empty": [math.nan, 0.0, 0.0]}}
    found = chosen(record(proof={"star": proof}))["star"]
    assert vars(found.proof["both"]) == pytest.approx(vars(Nearer(0.08, 0.02, 0.05, 0.0)))
    assert not found.proof["empty"].told and found.prior == "lap 2"
