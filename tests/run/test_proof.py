"""The burden of proof: what laps have learned is used where held-out observations are nearer to it, and only there."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dichroic import Problem, Source, View
from dichroic.algebra import Components
from dichroic.diagnose import Budget, Case, LearnedModel, nearer
from dichroic.diffusion import DenoiserPrior, Scaling, Schedule
from dichroic.em import EMState, Expectation, load_state, save_state
from dichroic.em.loop import run_stages
from dichroic.em.plan import Stage
from dichroic.run.proof import LEAST, proven
from dichroic.settings import FitConfig

N, D = 256, 4
LAWS = {"sky": np.diag([4.0, 2.0, 1.0, 0.5]), "star": np.diag([0.5, 1.0, 2.0, 4.0])}
KEY = jax.random.key(0)


def prior(C, weight=1.0):
    """A Gaussian; or a share of one, and the rest of another that is wider."""
    law = Components(np.array([weight, 1 - weight]), np.zeros((2, D)), np.stack([C, 4 * C]))
    law = law if weight < 1 else Components(np.ones(1), np.zeros((1, D)), C[None])
    return DenoiserPrior.of(law, (D,), Schedule(), Scaling(), {})


TRUE = {s: prior(C) for s, C in LAWS.items()}
WIDE = {s: prior(4 * C) for s, C in LAWS.items()}


def observed(priors, seed=0):
    rng, model = np.random.default_rng(seed), LearnedModel(priors)
    x = {s: model.sample(s, 2 * N, jax.random.key(seed + k)) for k, s in enumerate(LAWS)}
    y = {"empty": x["sky"][:N], "both": x["sky"][N:] + x["star"][N:]}
    mixing = {"empty": {"sky": 1.0}, "both": {"sky": 1.0, "star": 1.0}}
    noisy = {v: (a + 0.1 * rng.standard_normal(a.shape)).astype(np.float32) for v, a in y.items()}
    return Problem({s: Source((D,)) for s in LAWS}, {v: View(noisy[v], mixing[v], 0.1) for v in y})


@pytest.fixture(scope="module")
def held_out():
    return observed(TRUE)


def compared(held_out, a, b):
    return nearer(Case(held_out, LearnedModel(a), Budget(), KEY), LearnedModel(b), "both")


@pytest.mark.slow
def test_observations_are_at_the_true_one_of_two_beliefs(held_out):
    there, back = compared(held_out, WIDE, TRUE), compared(held_out, TRUE, WIDE)
    assert there.better and not there.worse and back.worse and not back.better
    assert there.place == pytest.approx(1, abs=4 * there.error / there.apart)
    assert back.place == pytest.approx(0, abs=4 * back.error / back.apart)


def test_half_way_is_no_proof():
    half = {s: prior(C, weight=0.5) for s, C in LAWS.items()}
    # of `a` with one of `b`, that is: one source is of either law, with even chances
    a, b = {**TRUE, "star": prior(LAWS["star"])}, {**TRUE, "star": WIDE["star"]}
    found = compared(observed({**TRUE, "star": half["star"]}), a, b)
    assert abs(found.gain) < 3.5 * found.error and found.apart > 10 * found.apart_error
    assert not found.better


def test_equal_beliefs_make_the_same_simulations(held_out):
    """To the last bit: the random numbers are the same, so nothing is left of chance."""
    found = compared(held_out, TRUE, TRUE)
    assert (found.gain, found.error, found.apart, found.apart_error) == (0, 0, 0, 0)
    assert not found.better


@pytest.mark.parametrize(
    ("before", "after", "used"), [(TRUE, WIDE, False), pytest.param(WIDE, TRUE, True, marks=pytest.mark.slow)]
)
def test_a_fit_never_ends_with_worse_priors_than_it_began_with(held_out, before, after, used):
    said = []
    kept, record = proven(held_out, before, after, ["sky", "star"], KEY, said.append)
    assert {s: found["used"] for s, found in record.items()} == dict.fromkeys(LAWS, used)
    assert all(kept[s] is (after if used else before)[s] for s in LAWS)
    assert (
        len(said) == 2 and set(record["sky"]["views"]) == {"empty", "both"} and set(record["star"]["views"]) == {"both"}
    )


@pytest.mark.slow
def test_every_source_has_to_prove_itself(held_out):
    after = {"sky": TRUE["sky"], "star": WIDE["star"]}
    kept, _ = proven(held_out, {"sky": WIDE["sky"], "star": TRUE["star"]}, after, ["sky", "star"], KEY, lambda _: None)
    assert kept == TRUE


def test_few_observations_prove_nothing(held_out):
    few = held_out.select({v: np.arange(LEAST - 1) for v in held_out.views})
    assert proven(few, TRUE, WIDE, ["star"], KEY, lambda _: None) == ({**TRUE, "star": WIDE["star"]}, {})


def stage_that_ends(state, held_out, **proof):
    context = Expectation(
        held_out,
        None,
        FitConfig(laps=1),
        [Stage("joint", ("sky", "star"), ("empty", "both"))],
        lambda *_: None,
        **proof,
    )
    (after,) = run_stages(state, context)
    return after


@pytest.mark.parametrize("used", [True, False])
def test_a_stage_goes_on_with_what_is_proven(held_out, used, tmp_path):
    record = {"stage": "joint", "lap": 1, "best_lap": 1}
    draws = {"both": {"sky": np.zeros((1, D)), "usable": np.ones(1, bool)}}
    state = EMState(0, 1, TRUE, draws, {}, {"lap": 1}, TRUE, first_priors=WIDE, records=[record])
    save_state(state, tmp_path / "state")
    read = load_state(tmp_path / "state")
    assert {s: p.fingerprint() for s, p in read.first_priors.items()} == {s: p.fingerprint() for s, p in WIDE.items()}

    def prove(before, after, learned):
        assert (before, after, learned) == (WIDE, TRUE, ("sky", "star"))
        return after if used else before, {s: {"used": used} for s in learned}

    after = stage_that_ends(state, held_out, prove=prove)
    assert after.priors == (TRUE if used else WIDE)
    assert after.records[-1]["best_lap"] == int(used)
    assert stage_that_ends(state, held_out).priors == TRUE  # nobody asks
    undecided = replace(state, best={"lap": 0, "tried": 1}, records=[{**record, "best_lap": 0}])
    after = stage_that_ends(undecided, held_out, prove=prove)
    assert after.priors == (TRUE if used else WIDE) and after.records[-1]["best_lap"] == int(used)
    for nobody in (None, lambda before, after, learned: (after, {})):  # the best prediction decides
        assert stage_that_ends(undecided, held_out, prove=nobody).priors == WIDE
    hopeless = replace(state, best={"lap": 0, "tried": 0}, best_priors=WIDE)
    assert stage_that_ends(hopeless, held_out, prove=None).priors == WIDE


@pytest.mark.slow
def test_what_the_first_process_finds_holds_for_all(held_out, monkeypatch):
    """Whatever another one of them finds itself, by rounding or on other hardware."""
    monkeypatch.setattr("dichroic.run.proof.told", lambda used: not used)
    kept, record = proven(held_out, WIDE, TRUE, ["sky"], KEY, lambda _: None)
    assert kept["sky"] is WIDE["sky"] and not record["sky"]["used"]
